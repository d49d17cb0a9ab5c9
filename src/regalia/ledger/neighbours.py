"""Which of the processes that share a log live. PostgreSQL knows: each holds a lock while it does.

The lock is a session's, so it ends with the process however that ends, and not while it is merely paused.
After a restart of PostgreSQL the living take theirs again; only who stays away for `GRACE_S` counts as dead.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from regalia.storage import Database

GRACE_S = 5.0
LOCK_CLASS = 0x52454C50
"""Of our locks among the database's advisory locks."""

_OPEN = (
    "SELECT DISTINCT process FROM calls WHERE outcome IS NULL AND process <> %s "
    "UNION SELECT DISTINCT process FROM budget_shares WHERE process <> %s AND process <> ''"
)
_PRESENT = (
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_SETTINGS = (
    "SET tcp_keepalives_idle = 10",  # a host that lost its power must not seem to live for hours
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)


class Neighbours:
    """One process's own presence, and its view of the others. Owned by one thread at a time."""

    def __init__(
        self, database: Database, process: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._process = process
        self._monotonic = monotonic
        self._connection: Any = None
        self._absent_since: dict[str, float] = {}

    def gone(self) -> list[str]:
        """Be present, and name the processes that are not, for `GRACE_S` already, and still have a claim.

        A claim is an open call or a share of a budget.

        Raises the driver's error; then the next call begins on a new connection.
        """
        try:
            if self._connection is None:
                self._enter()
            with_a_claim = {row[0] for row in self._select(_OPEN, self._process, self._process)}
            present = {row[0] for row in self._select(_PRESENT, LOCK_CLASS)} if with_a_claim else set()
        except self._database.driver_error:
            self.close()
            raise
        now = self._monotonic()
        absent = {process for process in with_a_claim if _key(process) & 0xFFFF_FFFF not in present}
        self._absent_since = {process: self._absent_since.get(process, now) for process in absent}
        return sorted(p for p, since in self._absent_since.items() if now - since >= GRACE_S)

    def close(self) -> None:
        """Be present no longer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._database.driver_error):  # it may be broken: that is why it goes
                connection.close()

    def _enter(self) -> None:
        self._connection = self._database.driver_connection()
        self._absent_since = {}  # what was unreachable for us may have been for others
        cursor = self._connection.cursor()
        for setting in _SETTINGS:
            cursor.execute(setting)
        # Shared, so that a ledger process that replaces another need not wait for its session to end.
        cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, _key(self._process)))

    def _select(self, statement: str, *parameters: object) -> Iterable[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _key(process: str) -> int:
    return int.from_bytes(sha256(process.encode()).digest()[:4], "big", signed=True)
