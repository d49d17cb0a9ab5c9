"""Regalia's gateway."""
