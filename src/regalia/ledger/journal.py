"""The transaction that makes records durable. Whoever holds the row lock on `log_state` sequences.

Each transaction takes that lock (SQLite: the write lock of BEGIN IMMEDIATE; PostgreSQL: SELECT … FOR
UPDATE, given up by itself after lock and idle timeouts), gives its entries the next indices, and
commits entries, calls, contents and settled usage together. So any number of processes can append to one
log with no election: the row is the fence. What needs no lock is done before it is taken: a batch is sealed
and its rows are drafted. Where a key was retired until the lock is held, that is done again, under it (see
docs/decisions/0020). The statements run on the driver, compiled by it once, with plain tuples.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import msgspec

from regalia.ledger.batch import Rows, aborted, draft, judge
from regalia.ledger.charging import KnownBudgets, charges
from regalia.ledger.contents import Contents
from regalia.ledger.entry import Entry
from regalia.ledger.errors import LedgerInvariantError, LogDamaged, LogWouldFork
from regalia.ledger.spans import Spans
from regalia.ledger.statements import execute_many, statements_for
from regalia.storage import Database
from regalia.vault import VaultError

TRIM_ROWS = 4096
"""How many published rows leave the database in one transaction."""

_SETTINGS = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
"""What PostgreSQL shall not do on this connection: plans made while the tables were small are kept.

Every statement of ours goes by keys. Compiling is for long queries; the price put on a scan would set it off.
"""

Result = int | LedgerInvariantError
OpenCall = tuple[str, str, bytes]
"""A call, its project, and its admission's leaf hash."""


class Published(msgspec.Struct, frozen=True):
    """The newest checkpoint that is durable in the log folder."""

    size: int
    root: bytes
    note: str


class JournalError(Exception):
    """The database could not commit. Nothing of the transaction can be relied upon."""


class _Violation(Exception):
    """Some entry of the batch breaks an invariant; the transaction is not committed."""


class Journal:
    """Writes batches through its own connection. Owned by one thread at a time."""

    def __init__(self, database: Database, process: str, contents: Contents) -> None:
        self._database = database
        self._process = process
        self._contents = contents
        self._vault = contents.vault
        self._connection: Any = None
        self._error: type[Exception] = database.driver_error
        self._integrity: type[Exception] = database.driver_integrity_error
        self._sql = statements_for(database)
        self._budgets = KnownBudgets(self._sql)
        self._spans = Spans(self._sql)
        self._trimmed = 0
        self._generation: int | None = None  # the vault's, under the lock, where the database knows it
        self.size = 0  # the log's, as of the last transaction

    def append(
        self, entries: Sequence[Entry], published: Published | None = None, trim_below: int = 0
    ) -> list[Result]:
        """Commit the entries; their indices, or for each that the log can't hold, why.

        In the same transaction, notes what is `published` and lets some rows below `trim_below` go.
        Raises JournalError when the commit fails; the next call begins afresh.
        """
        with self._closed_on_failure():
            try:
                return list(self._append_all(entries, published, trim_below))
            except (_Violation, self._integrity):
                return self._append_holdable(entries)

    def abort(self, calls: Iterable[str], reason: str, time: int) -> None:
        """Give those of the calls that have no outcome the outcome `call.aborted`."""

        def open_ones(cursor: Any) -> list[OpenCall]:
            found: list[OpenCall] = []
            for call in calls:
                cursor.execute(self._sql.open_call, (call,))
                found += cursor.fetchall()
            return found

        self._abort(open_ones, reason, time)

    def abort_left_open(self, reason: str, time: int) -> None:
        """Abort all calls that other processes have left open, and take back their shares of budgets."""

        def left_open(cursor: Any) -> list[OpenCall]:
            self._inherit(cursor, self._sql.inherit_all, self._sql.forget_all, self._process)
            cursor.execute(self._sql.left_open, (self._process,))
            return list(cursor.fetchall())

        self._abort(left_open, reason, time)

    def abort_left_by(self, process: str, reason: str, time: int) -> None:
        """Abort all calls that a process has left open, and take back its shares of budgets."""

        def left_by(cursor: Any) -> list[OpenCall]:
            self._inherit(cursor, self._sql.inherit, self._sql.forget, process)
            cursor.execute(self._sql.left_by, (process,))
            return list(cursor.fetchall())

        self._abort(left_by, reason, time)

    def begin(self, entry: Entry) -> None:
        """Append the log's first entry, unless it has one: of several processes one does."""
        with self._closed_on_failure():
            with self._transaction() as (cursor, size):
                if size == 0:
                    self._insert(cursor, self._drafted([entry], 0), 1)
            self.size = max(size, 1)

    def transact(self, decide: Callable[[Any, int], bytes]) -> int:
        """Append the record that `decide` makes, given a cursor and the record's index; its index.

        What it does with the cursor is committed with the record: both or neither. What it raises is raised.
        """
        with self._closed_on_failure():
            with self._transaction() as (cursor, first):
                cursor.execute(self._sql.insert_entry, (first, decide(cursor, first)))
                cursor.execute(self._sql.advance, (first + 1,))
            self.size = first + 1
        return first

    def trimmed(self) -> int:
        """All rows below this index have left the database."""
        return self._trimmed

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        if self._connection is not None:
            with suppress(self._error):  # it may be broken: that is why it is closed
                self._connection.close()
            self._connection = None

    def _append_all(
        self, entries: Sequence[Entry], published: Published | None, trim_below: int
    ) -> Sequence[int]:
        trimmed = max(self._trimmed, min(trim_below, self._trimmed + TRIM_ROWS))
        drafted = draft(entries, self._process, self._contents)
        with self._transaction() as (cursor, first):
            if drafted.generation is None or self._vault.unchanged(drafted.generation, self._generation):
                batch = drafted.at(first)
            else:
                batch = self._drafted(entries, first)
            self._insert(cursor, batch, first + len(entries))
            if published is not None:
                cursor.execute(self._sql.published, (published.size, published.root, published.size))
            if trimmed > self._trimmed:
                self._trim(cursor, trimmed)
        self._trimmed = trimmed
        self.size = first + len(entries)
        return range(first, self.size)

    def _trim(self, cursor: Any, below: int) -> None:
        """Let rows go. They are public: overwriting what they leave would cost as much as writing them."""
        if self._database.is_sqlite:
            cursor.execute("PRAGMA secure_delete = OFF")
        cursor.execute(self._sql.trim, (below,))
        if self._database.is_sqlite:
            cursor.execute("PRAGMA secure_delete = ON")

    def _append_holdable(self, entries: Sequence[Entry]) -> list[Result]:
        """Append only the entries that keep the invariants."""
        with self._transaction() as (cursor, first):
            verdicts = judge(entries, self._known_calls(cursor, entries))
            holdable = [entry for entry, verdict in zip(entries, verdicts, strict=True) if verdict is None]
            self._insert(cursor, self._drafted(holdable, first), first + len(holdable))
        self.size = first + len(holdable)
        indices = iter(range(first, self.size))
        return [next(indices) if verdict is None else verdict for verdict in verdicts]

    def _abort(self, find: Callable[[Any], list[OpenCall]], reason: str, time: int) -> None:
        with self._closed_on_failure():
            with self._transaction() as (cursor, first):
                entries = [aborted(*call, reason, time) for call in find(cursor)]
                self._insert(cursor, self._drafted(entries, first), first + len(entries))
            self.size = first + len(entries)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Whatever fails, the next transaction starts on a new connection."""
        try:
            yield
        except (self._error, OSError, LogDamaged, VaultError) as error:
            self.close()
            raise JournalError(_reason(error)) from error
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Any, int]]:
        """A cursor within a transaction that holds the row lock, and the log's size."""
        if self._connection is None:
            self._connect()
        self._file.check()
        cursor = self._connection.cursor()
        try:
            size = self._lock_head(cursor)
            self._spans.begin()
            yield cursor, size
            cursor.execute("COMMIT")
            self._spans.committed()
        except BaseException:
            with suppress(self._error):  # the error that brought us here is the one to report
                cursor.execute("ROLLBACK")
            raise

    def _lock_head(self, cursor: Any) -> int:
        """Wait for the row lock; the log's size, which must not have gone back."""
        generation = None
        with self._one_trip():
            cursor.execute(self._sql.begin)
            head = self._connection.cursor().execute(self._sql.lock_head)
            if (
                self._vault.GENERATION is not None
            ):  # read when the lock is held: each statement sees its own time
                generation = self._connection.cursor().execute(self._vault.GENERATION)
        row = head.fetchone()
        self._generation = None if generation is None else generation.fetchone()[0]
        if row is None:
            raise LogDamaged("the row of `log_state` is missing")
        size = int(row[0])
        if size < self.size:
            raise LogWouldFork(
                f"the database went back from {self.size} to {size} entries while it was in use"
            )
        return size

    def _connect(self) -> None:
        self._connection = self._database.driver_connection()
        self._budgets, self._spans = KnownBudgets(self._sql), Spans(self._sql)
        self._file = DatabaseFile(self._database)
        cursor = self._connection.cursor()
        for setting in () if self._database.is_sqlite else _SETTINGS:
            cursor.execute(f"SET {setting} = off")
        cursor.execute(self._sql.oldest)
        self._trimmed = cursor.fetchone()[0] or 0

    def _drafted(self, entries: Sequence[Entry], first: int) -> Rows:
        """The rows of entries, made with the lock held: until it is let go, no erasure can pass them."""
        return draft(entries, self._process, self._contents, locked=True).at(first)

    def _insert(self, cursor: Any, batch: Rows, size: int) -> None:
        """Store a batch, with which the log has that size."""
        sql, closing, asking = self._sql, self._connection.cursor(), None
        with self._one_trip():
            for statement, rows in (
                (sql.insert_entry, batch.entries),
                (sql.insert_call, batch.admissions),
                (sql.insert_content, batch.contents),
                (sql.insert_subject, batch.subjects),
                (sql.add_usage, batch.usage),
            ):
                if rows:
                    execute_many(cursor, statement, rows)
            if batch.outcomes:
                execute_many(closing, sql.close_call, batch.outcomes)
            if batch.usage:
                asking = self._connection.cursor().execute(sql.generation)
            cursor.execute(sql.advance, (size,))
        if batch.outcomes and closing.rowcount != len(batch.outcomes):
            raise _Violation
        if batch.contents:
            self._spans.note(cursor, batch.contents)
        if asking is not None and (known := self._budgets.known(cursor, asking.fetchone()[0])):
            charged = charges(batch.usage, known, self._process)
            if charged:
                execute_many(cursor, sql.charge, charged)

    def _one_trip(self) -> AbstractContextManager[Any]:
        """What is executed in the block travels together; it has failed or succeeded when the block ends.

        SQLite executes at once, and has no trips.
        """
        return nullcontext() if self._database.is_sqlite else self._connection.pipeline()

    def _inherit(self, cursor: Any, inherit: str, forget: str, process: str) -> None:
        cursor.execute(inherit, (process,))
        cursor.execute(forget, (process,))

    def _known_calls(self, cursor: Any, entries: Sequence[Entry]) -> dict[str, bool]:
        known = {}
        for call in {entry.call for entry in entries if entry.phase != "event"}:
            cursor.execute(self._sql.call, (call,))
            row = cursor.fetchone()
            if row is not None:
                known[call] = row[0] is not None
        return known


class DatabaseFile:
    """Notices that SQLite's file was deleted or replaced, which SQLite itself would not."""

    def __init__(self, database: Database) -> None:
        self._path = database.file
        self._found = self._identity()

    def check(self) -> None:
        """Raise LogDamaged if the file is no longer the one that was connected to."""
        if self._path is not None and self._identity() != self._found:
            raise LogDamaged(f"the database file {self._path} was replaced while it was in use")

    def _identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        status = self._path.stat()
        return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    text = str(error).splitlines()
    part = "the vault" if isinstance(error, VaultError) else "the database"
    return f"{part}: {text[0] if text else type(error).__name__}"
