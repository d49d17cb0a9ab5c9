"""The register of a vault that several hosts share: the same tables in PostgreSQL, and no key material.

They are in a schema of their own, `regalia_vault`, beside the tables of the log, so that one dump holds both.
The lock of the whole vault is the row of `vault`. A process that is paused with it loses its transaction
after some seconds, as with the log's; what it then still writes is a file of its own that no row names.
"""

import secrets
import select
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from regalia.storage import Database
from regalia.vault.errors import ErasureUnderWay, VaultError
from regalia.vault.register import SCHEMA, TABLES, Register
from regalia.vault.sealing import MAX_ID

_SCHEMA = "regalia_vault"
_ERASING = 0x52454C56
_OPENINGS = 0x52454C57
"""Of our locks among the database's advisory locks: who erases, and who has the vault open."""

_TABLES = (
    f"CREATE SCHEMA {_SCHEMA}; SET search_path = {_SCHEMA};"
    + TABLES.replace("INTEGER", "BIGINT").replace("BLOB", "BYTEA")
    + "ALTER TABLE vault ADD COLUMN version BIGINT NOT NULL, ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;"
    "CREATE TABLE openings (number BIGINT PRIMARY KEY);"
)
GENERATION = f"SELECT generation FROM {_SCHEMA}.vault WHERE id = 1"
_THERE = f"SELECT to_regclass('{_SCHEMA}.vault') IS NOT NULL"
_PRESENT = (
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = ? AND objsubid = 2 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class _Connection:
    """A connection of psycopg's in the dialect that `Register` speaks: `?` marks a parameter."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        return self._connection.execute(sql.replace("?", "%s"), parameters)

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        self._connection.cursor().executemany(sql.replace("?", "%s"), rows)

    def close(self) -> None:
        self._connection.close()

    def stale(self) -> bool:
        """Whether the server has closed it while nothing was under way, as a restart does."""
        if self._connection.closed:
            return True
        idle: bool = self._connection.info.transaction_status == 0
        return idle and bool(select.select([self._connection.fileno()], [], [], 0)[0])


class SharedRegister(Register):
    """The register in PostgreSQL. Safe to share between threads, like its base."""

    _db: Any  # a `_Connection` while there is one

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._db = cast(Any, None)
        self._number = secrets.randbits(31)
        with self.reading():
            self.name, version = self._db.execute("SELECT name, version FROM vault").fetchone()
        if version != SCHEMA:
            raise VaultError(f"the shared vault has schema {version}, this Regalia needs {SCHEMA}")

    @staticmethod
    def exists(database: Database) -> bool:
        """Whether the database has a vault's register. Raises VaultError."""
        with _database_problems(database), _connected(database) as connection:
            return bool(connection.execute(_THERE).fetchone()[0])

    @staticmethod
    @contextmanager
    def creating(database: Database, name: bytes) -> Iterator[bool]:
        """Make the register, unless there is one (False); it is there when the block has ended."""
        with _database_problems(database), _connected(database) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_ERASING,))
            made = not connection.execute(_THERE).fetchone()[0]
            if made:
                connection.execute(_TABLES)
                insert = "INSERT INTO vault (id, name, version) VALUES (1, %s, %s)"
                connection.execute(insert, (name, SCHEMA))
            yield made
            connection.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the vault's lock; commit durably when the block ends, roll back when it raises."""
        with self.reading():
            self._db.execute("BEGIN")
            try:
                self._db.execute("SELECT id FROM vault FOR UPDATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(self._database.driver_error):  # the error that brought us here is told
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Have the connection to oneself, a new one after a failure; failures become VaultErrors."""
        with self._lock, _database_problems(self._database):
            try:
                if self._db is not None and self._db.stale():
                    self._disconnect()
                if self._db is None:
                    self._connect()
                yield
            except (self._database.driver_error, OSError):
                self._disconnect()
                raise

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Be the only one, on all hosts, that erases. Raises ErasureUnderWay instead of waiting."""
        with _database_problems(self._database), _connected(self._database) as connection:
            taken = connection.execute("SELECT pg_try_advisory_lock(%s, 1)", (_ERASING,)).fetchone()[0]
            if not taken:
                raise ErasureUnderWay("another erasure is under way: try again when it is done")
            yield

    def generation(self) -> bytes:
        """How often some key was retired or destroyed."""
        with self.reading():
            return int(self._db.execute(GENERATION).fetchone()[0]).to_bytes(8, "big")

    def advance(self) -> None:
        """Count one more."""
        with self.reading():
            self._db.execute("UPDATE vault SET generation = generation + 1")

    def enter(self) -> tuple[int, list[int], list[int]]:
        """Note that this process has the vault open: its number, and those of the living and the gone.

        Within `transaction()`. The database knows who lives: each holds a lock while it does.
        """
        present = {row[0] for row in self._db.execute(_PRESENT, (_OPENINGS,))}
        numbers = [row[0] for row in self._db.execute("SELECT number FROM openings")]
        gone = [number for number in numbers if number not in present]
        self._db.executemany("DELETE FROM openings WHERE number = ?", [(number,) for number in gone])
        self._db.execute("INSERT INTO openings VALUES (?) ON CONFLICT DO NOTHING", (self._number,))
        return self._number, [number for number in numbers if number in present], gone

    def leave(self) -> int:
        """This process has the vault open no longer; its number."""
        with self.reading():
            self._db.execute("DELETE FROM openings WHERE number = ?", (self._number,))
        return self._number

    def newest_slots(self, count: int) -> list[int]:
        """The slots of all project keys and of the newest buckets."""
        sql = (
            "SELECT slot FROM project_keys WHERE slot IS NOT NULL UNION ALL (SELECT b.slot FROM buckets b "
            "JOIN project_keys p ON p.id = b.parent WHERE b.slot IS NOT NULL AND p.destroyed IS NULL "
            "ORDER BY b.begins DESC LIMIT ?)"
        )
        return [slot for (slot,) in self._db.execute(sql, (count,))]

    def take_slots(self, count: int) -> list[int]:
        """Slots for new keys: never one that was used before, whatever became of that transaction."""
        taken = [secrets.randbelow(MAX_ID) for _ in range(count)]
        self._db.executemany("INSERT INTO slots VALUES (?, 'used')", [(slot,) for slot in taken])
        return taken

    def free(self, slots: Iterable[int]) -> None:
        """These slots have been scrubbed."""
        self._db.executemany("DELETE FROM slots WHERE slot = ?", [(slot,) for slot in slots])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> None:
        connection = self._database.driver_connection()
        connection.execute(f"SET search_path = {_SCHEMA}")
        # Shared, for after a lost connection the old session may not have ended yet.
        connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_OPENINGS, self._number))
        self._db = _Connection(connection)

    def _disconnect(self) -> None:
        connection, self._db = self._db, None
        if connection is not None:
            with suppress(self._database.driver_error):  # it may be broken: that is why it goes
                connection.close()


@contextmanager
def _connected(database: Database) -> Iterator[Any]:
    connection = database.driver_connection()
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _database_problems(database: Database) -> Iterator[None]:
    try:
        yield
    except (database.driver_error, OSError) as error:
        text = str(error).splitlines()
        raise VaultError(
            f"the shared vault can't be read or written: {text[0] if text else type(error).__name__}"
        ) from error
