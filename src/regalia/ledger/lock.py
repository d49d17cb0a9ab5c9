"""An exclusive lock on a file, held until it is closed or the process ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import NoReturn

from regalia.ledger.errors import LedgerLocked

WAIT_S = 2.0
"""A predecessor that lost its gateway still commits and publishes what it has; that takes moments."""


class FileLock:
    """Holds the lock from its making; raises LedgerLocked if another process does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = path.open("a+")
        deadline = time.monotonic() + WAIT_S
        while not self._take():
            if time.monotonic() > deadline:
                self._refuse(path)
            time.sleep(0.02)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _refuse(self, path: Path) -> NoReturn:
        self._file.seek(0)
        holder = self._file.read(32).strip() or "unknown"
        self._file.close()
        raise LedgerLocked(
            f"the data directory {path.parent.parent} is in use by process {holder}: stop it first"
        )
