"""Regalia: sovereign LLM infrastructure whose every answer comes with a receipt anyone can verify."""

__version__ = "0.1.0"
