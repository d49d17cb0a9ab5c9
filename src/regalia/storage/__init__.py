"""Regalia's storage."""
