"""The folder that wrapped keys are in when several hosts share a vault: one file a key.

Of the folder nothing is asked that a network file system does not give: files are made exclusively, written
once, overwritten where they are when the key is destroyed, and unlinked. No two hosts ever write one file,
and nothing here is locked: which keys there are, whose turn it is, and whether some key was destroyed are
PostgreSQL's knowledge (shared_register.py). The folder is held open, so that what is mounted over or
unmounted behind our back does not take its place.

    vault.id            magic, and the vault's name in hex
    <slot>.key          key id (8) · length (2) · wrapped key, 512 bytes
    open-<number>       one for each process that has the vault open
"""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from regalia.vault.errors import KeyElsewhere, VaultError
from regalia.vault.keyslots import SLOT_BYTES, KeySlots, pack, unpack

_MAGIC = "regalia vault 2"
_ID = "vault.id"
_KEY = ".key"


class Generation(Protocol):
    """Where the counter of retired and destroyed keys is."""

    def generation(self) -> bytes:
        """Its value now."""

    def advance(self) -> None:
        """Count one more."""


class KeyFolder(KeySlots):
    """The open folder. Slots are random numbers that are never used twice."""

    def __init__(self, folder: Path, vault: bytes, counter: Generation) -> None:
        self._path = folder
        self._counter = counter
        self._turn = threading.local()  # `value` within `turn()`, else None
        try:
            self._file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            found = self._get(_ID).decode(errors="replace").split("\n")
        except OSError as error:
            raise VaultError(
                f"{folder} does not hold the vault's keys ({error.strerror}): mount or link the folder that "
                "all hosts share, see docs/scale-out.md"
            ) from error
        if found[:2] != [_MAGIC, vault.hex()]:
            os.close(self._file)
            raise VaultError(f"{folder} holds the keys of another vault than the database's")

    @classmethod
    def create(cls, path: Path, vault: bytes) -> None:
        """Make the folder, or begin again in one that holds no key yet. Raises VaultError, OSError."""
        path.mkdir(mode=0o700, exist_ok=True)
        if any(path.glob(f"*{_KEY}")):
            raise VaultError(f"{path} holds the keys of another vault: the database must be its own, too")
        begun = path / f"{_ID}.new"
        with begun.open("w") as file:
            begun.chmod(0o600)
            file.write(f"{_MAGIC}\n{vault.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        begun.rename(path / _ID)
        for folder in (path, path.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @staticmethod
    def complete(path: Path, slots: Iterable[int]) -> None:
        """Make an empty file for every slot that has none."""
        for slot in slots:
            (path / _name(slot)).touch(mode=0o600)

    def _read_generation(self) -> bytes:
        return self._counter.generation()

    def advance(self) -> None:
        """Tell every process of every host that some key was retired or destroyed."""
        self._counter.advance()

    def read(self, slot: int, key: int) -> bytes | None:
        """The wrapped key in its file, None if that holds another one. Raises KeyElsewhere."""
        try:
            return unpack(self._get(_name(slot)), key)
        except FileNotFoundError as error:
            raise KeyElsewhere(
                f"the key {key} is missing from {self._path}: is it the folder that all hosts share?"
            ) from error

    def write(self, slot: int, key: int, wrapped: bytes) -> None:
        """Put a wrapped key into a new file; durable after `sync`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(_name(slot), flags, 0o600, dir_fd=self._file)
        try:
            self._fill(descriptor, pack(key, wrapped))
        finally:
            os.close(descriptor)

    def scrub(self, slots: Iterable[int]) -> None:
        """Overwrite and unlink the files; durable when it returns."""
        for slot in slots:
            with suppress(FileNotFoundError):  # an interrupted scrubbing had come so far
                descriptor = os.open(_name(slot), os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._file)
                try:
                    self._fill(descriptor, bytes(SLOT_BYTES))
                finally:
                    os.close(descriptor)
                os.unlink(_name(slot), dir_fd=self._file)
        self.sync()

    def sync(self) -> None:
        """Make the names durable."""
        os.fsync(self._file)

    def holds(self, slot: int) -> bool:
        """Whether there is a file for the slot."""
        return self._has(_name(slot))

    def enter(self, number: int, others: Iterable[int]) -> None:
        """Show that this process has the folder open. Raises VaultError if one of the others has not.

        Who copies the folder for another host, instead of sharing it, is found out here.
        """
        if not all(self._has(_opening(other)) for other in others):
            raise VaultError(
                f"{self._path} is not the folder that the processes of other hosts use for this vault, but "
                "perhaps a copy of it: mount or link that one, see docs/scale-out.md"
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(_opening(number), flags, 0o600, dir_fd=self._file))

    def leave(self, numbers: Iterable[int]) -> None:
        """These have the folder open no longer."""
        for number in numbers:
            with suppress(FileNotFoundError):
                os.unlink(_opening(number), dir_fd=self._file)

    def copy_to(self, path: Path) -> None:
        """A durable copy in a folder that there is."""
        for name in sorted(os.listdir(self._file)):  # noqa: PTH208 - of what is open, not of a path
            if name == _ID or name.endswith(_KEY):
                target = os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    with suppress(FileNotFoundError):  # scrubbed meanwhile, by an erasure that goes on
                        self._fill(target, self._get(name))
                finally:
                    os.close(target)

    def _get(self, name: str) -> bytes:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._file)
        try:
            return os.pread(descriptor, SLOT_BYTES, 0)
        finally:
            os.close(descriptor)

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._file)
        except FileNotFoundError:
            return False
        return True

    def _fill(self, descriptor: int, content: bytes) -> None:
        if os.pwrite(descriptor, content, 0) != len(content):
            raise VaultError(f"a key in {self._path} could not be written: is the disk full?")
        os.fdatasync(descriptor)


def _name(slot: int) -> str:
    return f"{slot:016x}{_KEY}"


def _opening(number: int) -> str:
    return f"open-{number:08x}"
