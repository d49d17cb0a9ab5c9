"""A witness' book: the logs it trusts and the checkpoints it has cosigned, in an SQLite file.

A checkpoint is entered in one transaction that holds the write lock from the reading of the latest one
to the commit, and the commit is on disk when it returns (`synchronous=FULL`). So of two requests that
build on the same size one wins, in whatever process they run, and what was entered survives a power cut.

Of each log the latest `REMEMBERED` checkpoints stay, so that a fork at a recent size is recognised.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from regalia.witness.decision import Known, TrustedLog
from regalia.witness.errors import WitnessError
from regalia_verify.note import Checkpoint, VerifierKey

REMEMBERED = 256
_VERSION = 1
_LOCK_TIMEOUT_S = 5.0
_TABLES = """
CREATE TABLE logs (
    origin TEXT PRIMARY KEY,
    keys TEXT NOT NULL,
    others TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE cosigned (
    origin TEXT NOT NULL REFERENCES logs (origin),
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    seconds INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (origin, size)
);
"""


class Entry(msgspec.Struct, frozen=True):
    """A cosigned checkpoint: `note` has the log's signatures and the witness' own, made at `seconds`."""

    checkpoint: Checkpoint
    seconds: int
    note: str


Decide = Callable[[Known, int], Entry]
"""Given what is known and the earliest time to sign with, the entry to make; or it raises."""


class Book:
    """The file. One thread at a time may use a `Book`; any number of processes may open the file."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(
                path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.Error as error:
            raise WitnessError(f"can't open the witness' book {path}: {error}") from error
        self._path = path

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new, empty book, or the one that an interrupted creation has made."""
        book = cls(path)
        if book._connection.execute("PRAGMA user_version").fetchone() != (0,):
            book.close()
            return cls.open(path)
        book._connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        return book

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing book. Raises WitnessError."""
        if not path.is_file():
            raise WitnessError(f"{path} is missing; a witness that lost its book needs a new name and keys")
        book = cls(path)
        (version,) = book._connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            book.close()
            raise WitnessError(f"{path} has schema {version}; this Regalia knows schema {_VERSION}")
        return book

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def trust(self, log: TrustedLog) -> None:
        """Trust a log, or replace the keys of one that is already trusted; what was cosigned stays."""
        self._connection.execute(
            "INSERT INTO logs VALUES (?, ?, ?) "
            "ON CONFLICT (origin) DO UPDATE SET keys = excluded.keys, others = excluded.others",
            (log.origin, _join(log.keys), _join(log.others)),
        )

    def logs(self) -> list[TrustedLog]:
        """Every trusted log, by origin."""
        rows = self._connection.execute("SELECT origin, keys, others FROM logs ORDER BY origin")
        return [TrustedLog(origin, _split(keys), _split(others)) for origin, keys, others in rows]

    def log(self, origin: str) -> TrustedLog | None:
        """The log with this origin, if it is trusted."""
        row = self._connection.execute("SELECT keys, others FROM logs WHERE origin = ?", (origin,)).fetchone()
        return TrustedLog(origin, _split(row[0]), _split(row[1])) if row else None

    def latest(self, origin: str) -> Entry | None:
        """The largest cosigned checkpoint of a log."""
        return self._entry(origin, "ORDER BY size DESC LIMIT 1", ())

    def at(self, origin: str, size: int) -> Entry | None:
        """The checkpoint cosigned at a size, if it is remembered."""
        return self._entry(origin, "AND size = ?", (size,))

    def enter(self, log: TrustedLog, size: int, decide: Decide) -> Entry:
        """Compare and persist: make the entry that `decide` returns; durable when this returns.

        Nothing is written if `decide` raises. Time never runs backwards in a log's entries, even if
        the clock does: a cosignature states the largest tree seen *as of* its time.
        """
        with self._transaction():
            latest, same = self.latest(log.origin), self.at(log.origin, size)
            known = Known(log, root_at=same.checkpoint.root if same else None)
            if latest:
                known = msgspec.structs.replace(
                    known, size=latest.checkpoint.size, root=latest.checkpoint.root
                )
            entry = decide(known, latest.seconds if latest else 0)
            checkpoint = entry.checkpoint
            self._connection.execute(
                "INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?, ?)",
                (log.origin, checkpoint.size, checkpoint.root, entry.seconds, entry.note),
            )
            self._connection.execute(
                "DELETE FROM cosigned WHERE origin = ?1 AND size <= "
                "(SELECT size FROM cosigned WHERE origin = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2)",
                (log.origin, REMEMBERED),
            )
        return entry

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _entry(self, origin: str, which: str, parameters: tuple[int, ...]) -> Entry | None:
        row = self._connection.execute(
            f"SELECT size, root, seconds, note FROM cosigned WHERE origin = ? {which}", (origin, *parameters)
        ).fetchone()
        return Entry(Checkpoint(origin, row[0], row[1]), row[2], row[3]) if row else None


def _join(keys: tuple[VerifierKey, ...]) -> str:
    return "\n".join(key.encode() for key in keys)


def _split(text: str) -> tuple[VerifierKey, ...]:
    return tuple(VerifierKey.parse(line) for line in text.splitlines())
