"""Regalia's identity."""
