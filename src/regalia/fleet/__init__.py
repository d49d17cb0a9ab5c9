"""Regalia's fleet."""
