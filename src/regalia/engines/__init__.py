"""Regalia's engines."""
