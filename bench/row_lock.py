"""Who holds the log's row, and for what: PostgreSQL's own view of the ledger processes, sampled under load.

Only whoever holds the row of `log_state` can append, so the share of time in which nobody holds it is all
that more processes could use.
"""

import threading
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

import psycopg

EVERY_S = 0.01
WORKS, EXECUTES, SYNCS, FREE, WAITS = (
    "its ledger process works",
    "PostgreSQL executes",
    "its commit is synced",
    "nobody holds it",
    "another one waits",
)
HELD = (WORKS, EXECUTES, SYNCS)
_SESSIONS = (
    "SELECT state, wait_event_type, wait_event FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state IN ('active', 'idle in transaction')"
)


def holding(sessions: list[tuple[str, str | None, str | None]]) -> str:
    """What the session that holds the row does, of all that are in a transaction."""
    for state, kind, event in sessions:
        if kind == "Lock":
            continue
        if state == "idle in transaction":
            return WORKS
        return SYNCS if kind == "IO" or event in ("WALWrite", "WALSync", "WalSync", "WalWrite") else EXECUTES
    return FREE


class RowLock(AbstractContextManager["RowLock"]):
    """Samples a database's sessions from a thread while it is entered; may be entered again."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(
            url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.seen = Counter[str]()
        self.samples = 0

    def __enter__(self) -> "RowLock":
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def share(self, what: str) -> float:
        """In how many of the samples, of 1."""
        return self.seen[what] / self.samples if self.samples else 0.0

    def _sample(self) -> None:
        while not self._stop.wait(EVERY_S):
            sessions = self._connection.execute(_SESSIONS).fetchall()
            self.samples += 1
            self.seen[holding(sessions)] += 1
            self.seen[WAITS] += any(kind == "Lock" for _, kind, _ in sessions)
