"""The vault: seals contents, opens them, and destroys their keys so that nothing opens them again.

Promises:
1. What `seal` returns can be opened with the vault's two files and the root key, and only so.
2. When a method that destroys keys has returned, no file holds those keys in any form, and no process
   that uses this vault still opens anything with them, or stores what it seals with them (see below).
   What a crash interrupts, `open` finishes.
3. Sealing writes no file except when a bucket begins: once an hour, or every few thousand records.

Contents belong to buckets, by project, retention class and time window. So age is erased by the bucket
and a project by its few project keys, whatever the number of records. For single records see erasure.py.

No record may be written with a key that is destroyed meanwhile. So keys are retired first, and what was
sealed may be stored only by a transaction that holds the log's lock and has seen, with that lock, that no
key was retired since (`unchanged`): whoever has retired a key, and then held that lock once, knows every
record that will ever be stored under it. See docs/decisions/0020.
"""

import fcntl
import hmac
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from regalia.vault.errors import ErasureUnderWay, RootKeyError, VaultError
from regalia.vault.keychain import SUBJECTS, Keychain, OpenBucket
from regalia.vault.keyslots import KeySlots
from regalia.vault.register import Bucket, ProjectKey, Register
from regalia.vault.roots import Random, RootKey
from regalia.vault.sealing import NONCE_BYTES, SEAL_RANDOM, Sealed, bucket_of

HOUR_MS = 3_600_000
BUCKET_RECORDS = 4096
"""How many records one process puts into one bucket: what erasing a single one of them must re-wrap."""

PREPARE_MS = 120_000
"""How long before a window begins `prepare` makes its buckets."""

_REMEMBERED = 1024  # keys kept in memory; a bound, not a tuning
_SWEPT = 1024  # buckets tidied up in one transaction
_POOL_BYTES = 64 * SEAL_RANDOM
_SUBJECT = b"regalia/vault/subject/v1\0"
_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Rewrap = Callable[[bytes, bytes], bytes]
"""From a record's ident and its `Sealed.key`, the `Sealed.key` in another bucket."""


class _Current:
    """The bucket in which contents are being sealed. `left` is as exact as racing threads leave it."""

    __slots__ = ("begins", "bucket", "ends", "key", "left")

    def __init__(self, opened: OpenBucket, records: int) -> None:
        self.bucket = opened.bucket.id
        self.key = opened.key
        self.begins = opened.bucket.begins
        self.ends = opened.bucket.ends
        self.left = records

    def takes(self, now_ms: int) -> bool:
        return self.left > 0 and self.begins <= now_ms < self.ends


class Vault:
    """An open vault. Safe to share between threads, and its folder between the processes of a host."""

    GENERATION: str | None = None
    """What the log's own database can be asked instead of the vault, in one trip with other questions."""

    def __init__(
        self, folder: Path, keychain: Keychain, window_ms: int, records: int, random: Random
    ) -> None:
        self._folder = folder
        self._keychain = keychain
        self._register = keychain.register
        self._slots = keychain.slots
        self._window_ms = window_ms
        self._records = records
        self._random = random
        self._pool = threading.local()  # `drawn` and how far it is used: `at`
        self._lock = threading.RLock()  # for writing the five below
        self._current: dict[tuple[str, str], _Current] = {}
        self._prepared: dict[tuple[str, str], _Current] = {}
        self._remembered: dict[int, OpenBucket] = {}
        self._subjects: dict[str, bytes] = {}
        self._generation = self._slots.generation()

    @classmethod
    def create(cls, folder: Path, *, random: Random = os.urandom) -> None:
        """Make an empty vault in a folder that has none: `vault.db` and `vault.keys`. Raises VaultError.

        `vault.db` comes last and whole: without it there is no vault, and what an interrupted creation has
        left is replaced.
        """
        name = random(16)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # against another one's creation under way
                if (folder / "vault.db").exists():
                    raise VaultError(f"can't make a vault in {folder}: it has one")
                KeySlots.create(folder / "vault.keys", name)
                Register.create(folder / "vault.db", name)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, sqlite3.Error) as error:
            raise VaultError(f"can't make a vault in {folder}: {error}") from error

    @classmethod
    def open(
        cls,
        folder: Path,
        root: RootKey,
        *,
        window_ms: int = HOUR_MS,
        bucket_records: int = BUCKET_RECORDS,
        random: Random = os.urandom,
    ) -> "Vault":
        """Open the vault in a folder and finish what a crash interrupted. Raises VaultError.

        RootKeyError unless every project key is wrapped by `root`: no vault opens half readable.
        """
        register = Register(folder / "vault.db")
        slots = KeySlots(folder / "vault.keys", register.name)
        cls.check_root(register, root, folder)
        vault = cls(folder, Keychain(register, slots, root, random), window_ms, bucket_records, random)
        vault._destroyed()
        return vault

    @staticmethod
    def check_root(register: Register, root: RootKey, folder: Path) -> None:
        """Raise RootKeyError unless every project key is wrapped by `root`."""
        with register.reading():
            roots = {key.root for key in register.kept_project_keys()}
        if roots - {root.id}:
            raise RootKeyError(f"the vault in {folder} is under {', '.join(sorted(roots))}, not {root.id}")

    def close(self) -> None:
        """Close the files and forget the keys."""
        with self._lock:
            for memory in (self._current, self._prepared, self._remembered, self._subjects):
                memory.clear()
            self._register.close()
            self._slots.close()

    # Sealing and opening

    @contextmanager
    def turn(self, *, locked: bool = False) -> Iterator[bytes]:
        """Wrap the sealing of a batch: what was retired or destroyed is asked for once, not for each seal.

        Gives the generation: what is sealed in the turn may be stored while `unchanged` says so. It is asked
        for if the log's lock is held. Before, it is the one last seen, for `unchanged` asks in any case.
        """
        with self._slots.turn(None if locked else self._generation) as generation:
            yield generation

    def unchanged(self, generation: bytes, told: int | None = None) -> bool:
        """Whether no key was retired or destroyed since a turn began. Ask with the log's lock held.

        `told` is what `GENERATION` gave with that lock held, where there is such a question.
        """
        now = self._slots.generation() if told is None else told.to_bytes(8, "big")
        return now == generation

    def seal(self, project: str, retention_class: str, ident: bytes, content: bytes, now_ms: int) -> Sealed:
        """Seal the content of the record `ident`, which opening it must name again.

        The transaction that stores the result asks `unchanged` (see above). Raises VaultError.
        """
        if self._slots.generation() != self._generation:
            self._forget()
        current = self._current.get((project, retention_class))
        if current is None or not current.takes(now_ms):
            current = self._begin(project, retention_class, now_ms)
        current.left -= 1
        return current.key.seal(ident, content, self._fresh())

    def _fresh(self) -> bytes:
        """SEAL_RANDOM bytes that were never used. Drawn for many seals at once, by each thread for itself:
        every drawing lets another thread have the interpreter.
        """
        pool = self._pool
        at: int = getattr(pool, "at", _POOL_BYTES)
        if at == _POOL_BYTES:
            pool.drawn, at = self._random(_POOL_BYTES), 0
        pool.at = at + SEAL_RANDOM
        drawn: bytes = pool.drawn
        return drawn[at : pool.at]

    def open_sealed(self, project: str, ident: bytes, sealed: Sealed) -> bytes:
        """The content. Raises ContentErased if its key was destroyed, VaultError if something is damaged."""
        bucket = bucket_of(sealed.key)
        if self._slots.generation() != self._generation:
            self._forget()
        found = self._remembered.get(bucket) or self._recall(bucket)
        if found.bucket.project != project:
            raise VaultError(f"the content of {ident.decode(errors='backslashreplace')} is another project's")
        return found.key.open(ident, sealed)

    def subject(self, project: str, reference: str) -> bytes:
        """The keyed pseudonym (16 bytes) of an end-user reference. Erasing the project unlinks it."""
        if self._slots.generation() != self._generation:
            self._forget()
        secret = self._subjects.get(project) or self._subject_secret(project)
        return hmac.digest(secret, _SUBJECT + reference.encode(), "sha256")[:16]

    def prepare(self, now_ms: int) -> int:
        """Make the buckets that will soon be needed, all in one transaction; how many.

        A timer calls it (every ten seconds or so), so that `seal` does not wait for the disk.
        """
        with self._lock, self._register.transaction():
            made = {}
            for pair, current in self._current.items():
                at_ms = self._needed_at(current, now_ms)
                ready = self._prepared.get(pair)
                if at_ms is not None and (ready is None or not ready.takes(at_ms)):
                    made[pair] = self._new_current(pair, at_ms)
            self._prepared.update(made)
        return len(made)

    # Destroying

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Be the only one, among all processes, that erases. Raises ErasureUnderWay instead of waiting."""
        with self._register.reading():
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ErasureUnderWay("another erasure is under way: try again when it is done") from error
            yield
        finally:
            os.close(descriptor)

    def buckets(self, project: str | None = None, before_ms: int | None = None) -> list[Bucket]:
        """Buckets whose keys exist, oldest first; of a project, or whose windows end by `before_ms`."""
        with self._register.reading():
            return self._register.kept_buckets(project, before_ms)

    def retire_project(self, project: str, now_ms: int) -> None:
        """Seal nothing more under the present keys of a project; whatever comes next gets new ones."""
        with self._register.transaction():
            self._register.retire_project(project, now_ms)
        self._slots.advance()

    def destroy_project(self, project: str, now_ms: int) -> int:
        """Destroy the retired keys of a project, and so everything sealed under them. How many keys.

        Takes the same time whatever the number of records; `erasure.tidy` clears up behind it.
        """
        with self._register.transaction():
            count = self._register.destroy_project(project, now_ms)
        self._destroyed()
        return count

    def retire_buckets(self, buckets: Iterable[int], now_ms: int) -> None:
        """Seal nothing more in these buckets."""
        with self._register.transaction():
            self._register.retire_buckets(buckets, now_ms)
        self._slots.advance()

    def destroy_buckets(self, buckets: Sequence[int], now_ms: int) -> int:
        """Destroy the keys of retired buckets, and so everything in them. How many there were."""
        with self._register.transaction():
            count = self._register.destroy_buckets(buckets, now_ms)
        self._destroyed()
        return count

    def orphans(self) -> list[int]:
        """Some buckets whose project's key was destroyed, so that nothing in them can be opened.

        Their rows and their slots are only waste: see `erasure.tidy`.
        """
        with self._register.reading():
            return self._register.orphans(_SWEPT)

    def replace(self, bucket: int, now_ms: int) -> Rewrap:
        """Begin to replace a bucket: retire it and make another for those of its records that stay.

        Returns what gives such a record its new key. When no record is left in the old bucket, `replaced`
        destroys it. Both may be called again after a crash. Raises ContentErased for a destroyed bucket.
        Call it within `exclusively()`.
        """
        with self._register.transaction():
            source = self._keychain.open_bucket(self._keychain.kept_bucket(bucket))
            begun = self._register.replacement(bucket)
            if begun is not None:
                target = self._keychain.open_bucket(self._keychain.kept_bucket(begun))
            else:
                target = self._keychain.successor(source.bucket, now_ms)
                self._register.retire_buckets([bucket], now_ms)
                self._register.add_replacement(bucket, target.bucket.id)
        self._slots.advance()
        old, new, random = source.key, target.key, self._random
        return lambda ident, key: new.take_over(old, ident, key, random(NONCE_BYTES))

    def replacing(self) -> dict[int, int]:
        """The buckets whose replacement has begun, and which ones take their place."""
        with self._register.reading():
            return self._register.replacements()

    def replaced(self, bucket: int, now_ms: int) -> None:
        """Destroy a bucket that every record has left."""
        with self._register.transaction():
            self._register.destroy_buckets([bucket], now_ms)
            self._register.end_replacement(bucket)
        self._destroyed()

    # Care

    def rotate_root(self, new: RootKey) -> int:
        """Wrap every project key by another root key, all or none; how many. Content is not touched.

        Other processes must be restarted with the new root key. Raises VaultError.
        """
        with self._register.reading():  # no other thread meets the new wrapping with the old root key
            with self._register.transaction():
                count = self._keychain.rewrap_all(new)
            self._keychain.change_root(new)
        self._destroyed()
        return count

    def check(self) -> list[str]:
        """What is wrong with the vault, a sentence each: keys that are missing, or can't be unwrapped."""
        with self._register.reading():
            keys: list[ProjectKey | Bucket] = [*self._register.kept_project_keys()]
            keys += self._register.kept_buckets()
            used = self._register.used()
        found = [
            f"the slot of the key {key.id} is not marked as used" for key in keys if key.slot not in used
        ]
        for key in keys:
            with self._register.reading():  # one by one: others must be able to begin a bucket
                found.append(self._keychain.problem(key))
        return [problem for problem in found if problem]

    def copy_to(self, folder: Path) -> None:
        """A consistent copy of the vault's two files in another folder, for a backup.

        Keys that are destroyed later are still in it: after a restore, erase again what the log says.
        """
        with self._register.transaction():
            self._register.copy_to(folder / "vault.db")
            self._slots.copy_to(folder / "vault.keys")

    def _destroyed(self) -> None:
        """Make what was committed true: processes forget the destroyed keys, their slots are overwritten."""
        self._slots.advance()
        with self._register.transaction():
            self._keychain.scrub()

    def _forget(self) -> None:
        """Some process has retired or destroyed keys: forget all but those that may still seal."""
        with self._lock, self._register.reading():
            generation = self._slots.generation()  # first: what changes from here on is seen next time
            self._remembered.clear()
            self._subjects.clear()
            for memory in (self._current, self._prepared):
                for pair, current in list(memory.items()):
                    bucket = self._register.bucket(current.bucket)
                    if bucket is None or bucket.retired is not None:
                        del memory[pair]
            self._generation = generation

    def _begin(self, project: str, retention_class: str, now_ms: int) -> _Current:
        pair = project, retention_class
        with self._lock:
            current = self._current.get(pair)
            if current is not None and current.takes(now_ms):
                return current  # another thread was faster
            ready = self._prepared.pop(pair, None)
            if ready is None or not ready.takes(now_ms):
                with self._register.transaction():
                    ready = self._new_current(pair, now_ms)
            if len(self._current) >= _REMEMBERED:
                over = [each for each, known in self._current.items() if known.ends <= now_ms]
                for each in over:
                    del self._current[each]
            self._current[pair] = ready
            return ready

    def _new_current(self, pair: tuple[str, str], at_ms: int) -> _Current:
        project, retention_class = pair
        if not _CLASS.fullmatch(retention_class):
            raise VaultError(f"a retention class can't be called {retention_class[:64]!r}")
        begins = at_ms - at_ms % self._window_ms
        opened = self._keychain.new_bucket(project, retention_class, begins, begins + self._window_ms)
        return _Current(opened, self._records)

    def _needed_at(self, current: _Current, now_ms: int) -> int | None:
        """For when the successor of a bucket should be ready, None if it need not be."""
        if current.ends <= now_ms:
            return None  # nothing was sealed for a while
        if current.ends - now_ms <= PREPARE_MS:
            return current.ends
        return now_ms if current.left < self._records // 4 else None

    def _recall(self, bucket: int) -> OpenBucket:
        with self._lock, self._register.reading():
            found = self._keychain.open_bucket(self._keychain.kept_bucket(bucket))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[bucket] = found
            return found

    def _subject_secret(self, project: str) -> bytes:
        with self._lock, self._register.reading():
            key = self._register.live_project_key(project, SUBJECTS)
            if key is None:
                with self._register.transaction():
                    key = self._keychain.project_key(project, SUBJECTS)
            if len(self._subjects) >= _REMEMBERED:
                self._subjects.clear()
            secret = self._subjects[project] = self._keychain.project_secret(key)
            return secret
