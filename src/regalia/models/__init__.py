"""Regalia's models."""
