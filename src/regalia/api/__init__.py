"""Regalia's api."""
