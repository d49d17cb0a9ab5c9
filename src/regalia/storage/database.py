"""One database, SQLite or PostgreSQL, behind SQLAlchemy Core.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned survives a power cut.
Transactions are explicit on both: `read()` sees one snapshot, `write()` takes the write lock when
it begins, so that it waits for its turn instead of failing half-way. The ledger's hot path takes
a bare driver connection with `driver_connection()` and begins and commits by itself.

PostgreSQL may commit and end before it has said so. `write()` then asks it, when it is back, what became of
the transaction: what fails was not made, what returns was, and for anything else there is CommitUnknown.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

LOCK_TIMEOUT_MS = 5_000
"""How long a transaction waits for another one's lock before it fails."""

HOLD_TIMEOUT_MS = 10_000
"""How long PostgreSQL lets a paused process keep its transaction, and so its locks."""

ANSWER_S = 15.0
"""How long a commit without an answer is asked after: longer than PostgreSQL takes to start again."""
_AGAIN_S = 0.1


class CommitUnknown(SQLAlchemyError):
    """The database was sent a commit and never answered: what was to be written may be there, or not."""


_TRANSACTION = "SELECT pg_current_xact_id_if_assigned()::text"  # none where nothing was written
_STATUS = "SELECT pg_xact_status(%s::xid8)"


class Database:
    """An engine with Regalia's settings. Safe to share between threads; made by `open_database`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(regalia_write=True)
        driver = engine.dialect.loaded_dbapi
        self.driver_error: type[Exception] = driver.Error
        self.driver_integrity_error: type[Exception] = driver.IntegrityError

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database, which one process at a time may use."""
        return self.engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path | None:
        """SQLite's database file; None for PostgreSQL."""
        return Path(self.engine.url.database or "") if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction for reading: one consistent snapshot. Keep it short."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction for writing; commits when the block ends, rolls back when it raises.

        What this raises was not made. Raises CommitUnknown where that can't be known.
        """
        transaction: str | None = None
        try:
            with self._writing.begin() as connection:
                yield connection
                if not self.is_sqlite:  # whose commit runs in this process, and so always answers
                    transaction = connection.exec_driver_sql(_TRANSACTION).scalar()
        except DBAPIError as error:
            if transaction is None or not self._committed(transaction, error):
                raise

    def _committed(self, transaction: str, error: DBAPIError) -> bool:
        """What became of a transaction whose commit failed, if only by its answer. Raises CommitUnknown."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                with self.read() as connection:
                    status = connection.exec_driver_sql(_STATUS, (transaction,)).scalar()
            except DBAPIError:  # it is not back yet
                status = None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            if time.monotonic() >= deadline:
                raise CommitUnknown(
                    f"the database has not said for {ANSWER_S:.0f} s whether it made a change"
                ) from error
            time.sleep(_AGAIN_S)

    def driver_connection(self) -> Any:
        """A new connection of the driver itself, in autocommit mode, outside the pool.

        The caller begins, commits and closes. `?` (sqlite3) or `%s` (psycopg) mark parameters.
        """
        pooled = self.engine.raw_connection()
        pooled.detach()
        connection = pooled.dbapi_connection
        if not self.is_sqlite:
            connection.autocommit = True  # type: ignore[union-attr]
        return connection

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at an SQLAlchemy URL: `sqlite:////path/regalia.db`, `postgresql://user@host/name`.

    Nothing is connected yet. A missing SQLite file is an error in all but `upgrade`, which makes it.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return Database(_sqlite(parsed))
    if backend == "postgresql":
        return Database(_postgresql(parsed))
    raise ValueError(f"the database is SQLite or PostgreSQL, not {backend!r}")


def _sqlite(url: URL) -> Engine:
    if not url.database or url.query:
        raise ValueError(f"an SQLite database is a file, `sqlite:////path/name.db`, not {url}")
    # mode=rw: a file that has gone missing must be noticed, not replaced by an empty one
    uri = f"file:{quote(url.database)}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT_MS / 1000, check_same_thread=False)

    engine = create_engine(url, creator=connect)

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # no BEGIN behind our back
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("regalia_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c idle_in_transaction_session_timeout={HOLD_TIMEOUT_MS}"
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"options": options, "connect_timeout": 5},
        pool_pre_ping=True,
    )
