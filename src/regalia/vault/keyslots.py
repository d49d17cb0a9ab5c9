"""The file that wrapped keys are in: one place and one copy each, overwritten where it is.

A database moves its rows about and leaves copies in journals, write-ahead logs and freed blocks; here a
key is written once into a slot of 512 bytes and destroyed by writing zeros over that slot. Which slot
is whose is the register's knowledge; the file itself holds nothing but wrapped keys.

    slot 0      magic (16) · vault id (16) · generation (8)
    slot n      key id (8) · length (2) · wrapped key

The generation changes when a key is retired or destroyed. Every process that uses the vault compares it
before each use of a key it remembers, so a destroyed key is forgotten everywhere at once. It is a random
number: two processes that change it at once can't bring back a value that somebody has seen. Whoever writes
a slot holds the register's write lock.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from regalia.vault.errors import VaultError

SLOT_BYTES = 512
MAX_WRAPPED = SLOT_BYTES - 10

_MAGIC = b"regalia vault 1\n"
_GENERATION_AT = 32
_GENERATION_BYTES = 8


class KeySlots:
    """The open file. Reads are safe from any thread; see above for writes."""

    def __init__(self, path: Path, vault: bytes) -> None:
        self._path = path
        self._turn = threading.local()  # `value` within `turn()`, else None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise VaultError(f"can't open the vault's keys {path}: {error.strerror}") from error
        head = os.pread(self._file, SLOT_BYTES, 0)
        if head[: len(_MAGIC)] != _MAGIC or head[16:32] != vault:
            os.close(self._file)
            raise VaultError(
                f"{path} does not belong to the vault.db beside it: restore both from one backup"
            )

    @classmethod
    def create(cls, path: Path, vault: bytes) -> None:
        """Make the file. `vault` is 16 bytes that tie it to its register.

        A file that ends before its first key was left by an interrupted creation, and is replaced.
        """
        if path.exists() and path.stat().st_size <= SLOT_BYTES:
            path.unlink()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, (_MAGIC + vault).ljust(SLOT_BYTES, b"\0"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def turn(self, seen: bytes | None = None) -> Iterator[bytes]:
        """For this thread the generation stays what it is, or `seen`: it is given, and not read again.

        Each read lets other threads have the interpreter, which is what a batch of seals can't afford.
        """
        self._turn.value = self._read_generation() if seen is None else seen
        try:
            yield self._turn.value
        finally:
            self._turn.value = None

    def generation(self) -> bytes:
        """Another value than before once some key was retired or destroyed, by whichever process."""
        value: bytes | None = getattr(self._turn, "value", None)
        return self._read_generation() if value is None else value

    def advance(self) -> None:
        """Tell every process that some key was retired or destroyed."""
        os.pwrite(self._file, os.urandom(_GENERATION_BYTES), _GENERATION_AT)

    def _read_generation(self) -> bytes:
        try:
            return os.pread(self._file, _GENERATION_BYTES, _GENERATION_AT)
        except OSError as error:
            raise VaultError(f"the vault's keys {self._path} can't be read: {error.strerror}") from error

    def read(self, slot: int, key: int) -> bytes | None:
        """The wrapped key in the slot, None if the slot does not hold the key with this id."""
        content = os.pread(self._file, SLOT_BYTES, slot * SLOT_BYTES)
        return unpack(content, key)

    def write(self, slot: int, key: int, wrapped: bytes) -> None:
        """Put a wrapped key into a free slot; durable after `sync`."""
        if slot < 1:
            raise VaultError(f"a key can't be put into slot {slot}")
        self._put(slot, pack(key, wrapped))

    def scrub(self, slots: Iterable[int]) -> None:
        """Overwrite the slots with zeros; durable when it returns."""
        for slot in slots:
            self._put(slot, bytes(SLOT_BYTES))
        self.sync()

    def sync(self) -> None:
        """Make what was written durable."""
        os.fdatasync(self._file)

    def copy_to(self, path: Path) -> None:
        """A durable copy in a new file."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            at = 0
            while chunk := os.pread(self._file, 1 << 20, at):
                at += os.write(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; every use of it fails from here on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, slot: int, content: bytes) -> None:
        if os.pwrite(self._file, content, slot * SLOT_BYTES) != SLOT_BYTES:
            raise VaultError(f"slot {slot} of {self._path} could not be written: is the disk full?")


def pack(key: int, wrapped: bytes) -> bytes:
    """The content of a slot. Raises VaultError."""
    if not 0 < len(wrapped) <= MAX_WRAPPED:
        raise VaultError(f"a wrapped key of {len(wrapped)} bytes does not fit a slot")
    return (key.to_bytes(8, "big") + len(wrapped).to_bytes(2, "big") + wrapped).ljust(SLOT_BYTES, b"\0")


def unpack(content: bytes, key: int) -> bytes | None:
    """The wrapped key in a slot's content, None if that is not of the key with this id."""
    length = int.from_bytes(content[8:10], "big")
    if content[:8] != key.to_bytes(8, "big") or not 0 < length <= MAX_WRAPPED:
        return None
    return content[10 : 10 + length]
