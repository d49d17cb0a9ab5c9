"""One holder of a log at a time: locks that end with their process, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from regalia.ledger.errors import LedgerLocked
from regalia.storage import Database

WAIT_S = 2.0
"""A predecessor that lost its gateway still commits and publishes what it has; that takes moments."""

_ADVISORY_KEY = 0x5245_4C4F  # this log's, among PostgreSQL's advisory locks of the database


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


@contextmanager
def database_lock(database: Database) -> Iterator[None]:
    """Be the only ledger on a PostgreSQL database. Raises LedgerLocked.

    An SQLite database lies in the data directory, whose lock is enough.
    """
    if database.is_sqlite:
        yield
        return
    connection = database.driver_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_ADVISORY_KEY,))
        if not cursor.fetchone()[0]:
            raise LedgerLocked("another ledger process uses the database: stop it first")
        yield
    finally:
        connection.close()


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
