"""How far events were delivered: the index of the next record, in a file that survives a power cut.

It is moved after a delivery, so what was delivered just before a crash is delivered again, and nothing is
left out. It belongs to one log and one destination: for another one delivery begins with the first record.
"""

import os
from hashlib import sha256
from pathlib import Path

import msgspec

from regalia.errors import RegaliaError


class CursorDamaged(RegaliaError):
    """The cursor's file can't be read; the message says what to do."""


class Position(msgspec.Struct, frozen=True):
    """What the file holds. `to` is a hash of the destination, which may hold a secret."""

    origin: str
    to: str
    next: int


class Cursor:
    """The cursor of one destination, in `folder`."""

    def __init__(self, folder: Path, origin: str, destination: str) -> None:
        self._folder = folder
        self._file = folder / "cursor.json"
        self._origin = origin
        self._to = sha256(destination.encode()).hexdigest()[:32]

    def read(self) -> int:
        """The index of the next record to deliver. Raises CursorDamaged."""
        try:
            position = msgspec.json.decode(self._file.read_bytes(), type=Position)
        except FileNotFoundError:
            return 0
        except (OSError, msgspec.DecodeError) as error:
            raise CursorDamaged(
                f"can't read {self._file} ({error}); remove it to deliver all events again"
            ) from error
        return position.next if (position.origin, position.to) == (self._origin, self._to) else 0

    def write(self, following: int) -> None:
        """Move it, durably. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        content = msgspec.json.encode(Position(self._origin, self._to, following))
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
