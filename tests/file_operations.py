"""A kill at any file operation, as Python's own audit events tell of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Killed(BaseException):
    """As far as files go, what a kill leaves."""


class Operations:
    """The file operations below a folder, of which one can be the last that is not made any more."""

    def __init__(self) -> None:
        self._folder = ""
        self._left = 0
        sys.addaudithook(self._hear)

    @contextmanager
    def killed_at(self, n: int, folder: Path) -> Iterator[None]:
        """Neither the nth operation nor any later one happens, not even what cleans up."""
        self._folder, self._left = str(folder), n
        try:
            yield
        finally:
            self._folder = ""

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._folder or not event.startswith(("open", "os.", "sqlite3.connect")):
            return
        if any(str(one).startswith(self._folder) for one in arguments):
            self._left -= 1
            if self._left <= 0:
                raise Killed


OPERATIONS = Operations()
"""One for all: Python never lets go of whoever hears its operations."""
