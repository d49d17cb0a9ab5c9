"""One holder of a data directory with SQLite at a time: a lock that ends with its process."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from regalia.ledger.errors import LedgerLocked

WAIT_S = 2.0
"""A predecessor that lost its gateway still commits and publishes what it has; that takes moments."""


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which names the holder. Raises LedgerLocked."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+") as file:
        deadline = time.monotonic() + WAIT_S
        while not _take(file):
            if time.monotonic() > deadline:
                file.seek(0)
                holder = file.read(32).strip() or "unknown"
                directory = path.parent.parent
                raise LedgerLocked(
                    f"the data directory {directory} is in use by process {holder}: stop it first"
                )
            time.sleep(0.02)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
