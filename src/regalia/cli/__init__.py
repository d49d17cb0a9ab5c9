"""Regalia's cli."""
