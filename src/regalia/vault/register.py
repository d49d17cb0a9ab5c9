"""The register: which keys there are, what they are for, and which slot each is in. No key material.

A SQLite database beside the key file (WAL, synchronous=FULL), shared by the processes of one host. Its
write lock is the lock of the whole vault. A key's life: live; *retired*, so that nothing new is sealed
under it; *destroyed*, when its slot is condemned, and free again once it is scrubbed. Rows of destroyed
keys stay, so that erased content is told from lost content.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from regalia.vault.errors import VaultError

SCHEMA = 1
BUSY_SECONDS = 10.0

TABLES = """
CREATE TABLE vault (id INTEGER PRIMARY KEY CHECK (id = 1), name BLOB NOT NULL);
CREATE TABLE project_keys (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, purpose TEXT NOT NULL, root TEXT NOT NULL,
    slot INTEGER UNIQUE, retired INTEGER, destroyed INTEGER);
CREATE UNIQUE INDEX project_keys_live ON project_keys (project, purpose) WHERE retired IS NULL;
CREATE INDEX project_keys_kept ON project_keys (project) WHERE destroyed IS NULL;
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES project_keys (id),
    begins INTEGER NOT NULL, ends INTEGER NOT NULL,
    slot INTEGER UNIQUE, retired INTEGER, destroyed INTEGER);
CREATE INDEX buckets_due ON buckets (ends) WHERE destroyed IS NULL;
CREATE INDEX buckets_of ON buckets (parent) WHERE slot IS NOT NULL;
CREATE TABLE replacements (
    old INTEGER PRIMARY KEY REFERENCES buckets (id), new INTEGER NOT NULL REFERENCES buckets (id));
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('used', 'condemned', 'free')));
CREATE INDEX slots_not_used ON slots (state) WHERE state <> 'used';
"""

_PROJECT_KEY = "SELECT id, project, purpose, root, slot FROM project_keys"

_BUCKET = """
SELECT b.id, p.project, p.purpose AS retention_class, b.begins, b.ends, b.parent, b.slot,
       coalesce(b.retired, p.retired) AS retired, coalesce(b.destroyed, p.destroyed) AS destroyed
FROM buckets b JOIN project_keys p ON p.id = b.parent
"""


class ProjectKey(msgspec.Struct, frozen=True):
    """A key of a project: for the contents of a retention class, or for the references to its users."""

    id: int
    project: str
    purpose: str
    root: str
    slot: int | None


class Bucket(msgspec.Struct, frozen=True):
    """A bucket: contents of a project and retention class that were sealed in [begins, ends), in ms.

    `retired` and `destroyed` say when that happened to it or to its project's key.
    """

    id: int
    project: str
    retention_class: str
    begins: int
    ends: int
    parent: int
    slot: int | None
    retired: int | None = None
    destroyed: int | None = None


Row = TypeVar("Row", ProjectKey, Bucket)


class Register:
    """The open database. Safe to share between threads; every method belongs into `transaction()`
    or, if it only reads, `reading()`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise VaultError(
                f"there is no vault at {path}: its contents can't be opened without it; restore it"
            )
        self._path = path
        self._lock = threading.RLock()
        self._db = _connect(path)
        with self.reading():
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found != SCHEMA:
                raise VaultError(f"{path} has schema {found}, this Regalia needs {SCHEMA}")
            (self.name,) = self._db.execute("SELECT name FROM vault").fetchone()

    @classmethod
    def create(cls, path: Path, name: bytes) -> None:
        """Make the database where there is none, whole or not at all. `name` is 16 random bytes."""
        begun = path.with_name(f"{path.name}.new")
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{begun.name}{suffix}").unlink(missing_ok=True)
        begun.touch(mode=0o600, exist_ok=False)
        with closing(_connect(begun)) as db:
            db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")
            db.execute("INSERT INTO vault (id, name) VALUES (1, ?)", (name,))
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        begun.rename(path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the vault's write lock; commit durably when the block ends, roll back when it raises."""
        with self.reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Have the connection to oneself; what the disk does wrong becomes a VaultError."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise VaultError(f"the vault can't be read or written: {error}") from error

    def project_key(self, key: int) -> ProjectKey:
        """A project key that a bucket names."""
        rows = self._rows(ProjectKey, f"{_PROJECT_KEY} WHERE id = ?", (key,))
        if not rows:
            raise VaultError(f"the project key {key} is missing from the vault's register")
        return rows[0]

    def live_project_key(self, project: str, purpose: str) -> ProjectKey | None:
        """The project key under which new things are sealed, if there is one."""
        sql = f"{_PROJECT_KEY} WHERE project = ? AND purpose = ? AND retired IS NULL"
        return next(iter(self._rows(ProjectKey, sql, (project, purpose))), None)

    def kept_project_keys(self) -> list[ProjectKey]:
        """All project keys that are not destroyed."""
        return self._rows(ProjectKey, f"{_PROJECT_KEY} WHERE destroyed IS NULL")

    def add_project_key(self, key: ProjectKey) -> None:
        """Enter a new project key."""
        self._db.execute(
            "INSERT INTO project_keys (id, project, purpose, root, slot) VALUES (?, ?, ?, ?, ?)",
            (key.id, key.project, key.purpose, key.root, key.slot),
        )

    def rewrapped(self, key: ProjectKey, root: str, slot: int) -> None:
        """A project key is now in another slot, wrapped by another root key; condemn the old slot."""
        self.condemn([] if key.slot is None else [key.slot])
        self._db.execute("UPDATE project_keys SET root = ?, slot = ? WHERE id = ?", (root, slot, key.id))

    def retire_project(self, project: str, now_ms: int) -> None:
        """Let nothing new be sealed under the project's present keys."""
        self._db.execute(
            "UPDATE project_keys SET retired = ? WHERE project = ? AND retired IS NULL", (now_ms, project)
        )

    def destroy_project(self, project: str, now_ms: int) -> int:
        """Condemn the project's retired keys; how many there were."""
        where = "project = ? AND retired IS NOT NULL AND destroyed IS NULL"
        keys = self._rows(ProjectKey, f"{_PROJECT_KEY} WHERE {where}", (project,))
        self.condemn([key.slot for key in keys if key.slot is not None])
        self._db.execute(
            f"UPDATE project_keys SET destroyed = ?, slot = NULL WHERE {where}", (now_ms, project)
        )
        return len(keys)

    def bucket(self, bucket: int) -> Bucket | None:
        """A bucket by its id."""
        return next(iter(self._rows(Bucket, f"{_BUCKET} WHERE b.id = ?", (bucket,))), None)

    def kept_buckets(self, project: str | None = None, before_ms: int | None = None) -> list[Bucket]:
        """Buckets that are not destroyed, oldest first; of a project, or whose window is over by then."""
        sql = f"{_BUCKET} WHERE b.destroyed IS NULL AND p.destroyed IS NULL"
        parameters: list[str | int] = []
        if project is not None:
            sql += " AND p.project = ?"
            parameters.append(project)
        if before_ms is not None:
            sql += " AND b.ends <= ?"
            parameters.append(before_ms)
        return self._rows(Bucket, f"{sql} ORDER BY b.ends, b.id", parameters)

    def orphans(self, limit: int) -> list[int]:
        """Buckets that still have a slot although their project's key is destroyed."""
        sql = (
            "SELECT b.id FROM buckets b JOIN project_keys p ON p.id = b.parent "
            "WHERE b.slot IS NOT NULL AND p.destroyed IS NOT NULL LIMIT ?"
        )
        return [bucket for (bucket,) in self._db.execute(sql, (limit,))]

    def add_bucket(self, bucket: Bucket) -> None:
        """Enter a new bucket."""
        self._db.execute(
            "INSERT INTO buckets (id, parent, begins, ends, slot, retired) VALUES (?, ?, ?, ?, ?, ?)",
            (bucket.id, bucket.parent, bucket.begins, bucket.ends, bucket.slot, bucket.retired),
        )

    def retire_buckets(self, buckets: Iterable[int], now_ms: int) -> None:
        """Let nothing new be sealed in these buckets."""
        sql = "UPDATE buckets SET retired = ? WHERE id = ? AND retired IS NULL"
        self._db.executemany(sql, [(now_ms, bucket) for bucket in buckets])

    def destroy_buckets(self, buckets: Sequence[int], now_ms: int) -> int:
        """Condemn the keys of these buckets, all of which must be retired; how many there were."""
        found = [row for row in map(self.bucket, buckets) if row is not None and row.slot is not None]
        for row in found:
            if row.retired is None:
                raise VaultError(f"the bucket {row.id} is still in use: retire it first")
        self.condemn([row.slot for row in found if row.slot is not None])
        sql = "UPDATE buckets SET destroyed = coalesce(destroyed, ?), slot = NULL WHERE id = ?"
        self._db.executemany(sql, [(now_ms, row.id) for row in found])
        return len(found)

    def replacement(self, old: int) -> int | None:
        """The bucket that is taking this one's place, if one is."""
        row = self._db.execute("SELECT new FROM replacements WHERE old = ?", (old,)).fetchone()
        return None if row is None else int(row[0])

    def replacements(self) -> dict[int, int]:
        """The buckets that are being replaced, and by which."""
        return dict(self._db.execute("SELECT old, new FROM replacements ORDER BY old"))

    def add_replacement(self, old: int, new: int) -> None:
        """Note the intent to replace a bucket by another one."""
        self._db.execute("INSERT INTO replacements (old, new) VALUES (?, ?)", (old, new))

    def end_replacement(self, old: int) -> None:
        """The bucket has been replaced."""
        self._db.execute("DELETE FROM replacements WHERE old = ?", (old,))

    def take_slots(self, count: int) -> list[int]:
        """Slots for new keys."""
        free = self._db.execute("SELECT slot FROM slots WHERE state = 'free' LIMIT ?", (count,)).fetchall()
        taken = [slot for (slot,) in free]
        (last,) = self._db.execute("SELECT coalesce(max(slot), 0) FROM slots").fetchone()
        taken += range(last + 1, last + 1 + count - len(taken))
        self._db.executemany("INSERT OR REPLACE INTO slots VALUES (?, 'used')", [(slot,) for slot in taken])
        return taken

    def condemn(self, slots: Iterable[int]) -> None:
        """These slots must be scrubbed."""
        self._set_slots("condemned", slots)

    def free(self, slots: Iterable[int]) -> None:
        """These slots have been scrubbed."""
        self._set_slots("free", slots)

    def condemned(self) -> list[int]:
        """The slots that must be scrubbed."""
        return [slot for (slot,) in self._db.execute("SELECT slot FROM slots WHERE state = 'condemned'")]

    def used(self) -> set[int]:
        """The slots that hold a key."""
        return {slot for (slot,) in self._db.execute("SELECT slot FROM slots WHERE state = 'used'")}

    def copy_to(self, path: Path) -> None:
        """A durable, consistent copy in a new file. Within `transaction()`, so that nothing changes."""
        path.touch(mode=0o600, exist_ok=False)
        with closing(_connect(self._path)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _set_slots(self, state: str, slots: Iterable[int]) -> None:
        self._db.executemany("UPDATE slots SET state = ? WHERE slot = ?", [(state, slot) for slot in slots])

    def _rows(self, kind: type[Row], sql: str, parameters: Sequence[str | int] = ()) -> list[Row]:
        return [kind(*row) for row in self._db.execute(sql, parameters)]


def _connect(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            db.execute(f"PRAGMA {pragma}").close()
    except sqlite3.Error as error:
        raise VaultError(f"can't open the vault's register {path}: {error}") from error
    return db
