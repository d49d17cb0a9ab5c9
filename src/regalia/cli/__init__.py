"""The terminal: one module a noun, put together in `main`."""

from regalia.cli.app import main

__all__ = ["main"]
