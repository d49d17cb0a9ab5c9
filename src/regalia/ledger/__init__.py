"""Regalia's ledger."""
