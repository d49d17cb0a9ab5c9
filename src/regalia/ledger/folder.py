"""The published log as files: tiles, entry bundles and the checkpoint (https://c2sp.org/tlog-tiles).

A file is written beside its place, fsynced and renamed, so a reader sees all of it or none. Full tiles
and bundles never change. What `sync` has returned for survives a power cut.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from regalia_verify.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    encode_bundle,
    entries_path,
    parse_bundle,
    parse_tile,
    tile_path,
)

MAX_CHECKPOINT_BYTES = 512 * 1024


class LogFolder:
    """The folder that is served at /log/. One publisher writes it; reading is safe at any time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unsynced: set[Path] = set()  # directories, owned by the publisher

    def write_tile(self, level: int, n: int, hashes: Sequence[bytes]) -> None:
        """Write a full or partial tile."""
        self._write(tile_path(level, n, len(hashes)), b"".join(hashes))

    def write_entries(self, n: int, entries: list[bytes]) -> None:
        """Write a full or partial entry bundle."""
        self._write(entries_path(n, len(entries)), encode_bundle(entries))

    def write_checkpoint(self, note: str) -> None:
        """Replace the checkpoint, durably; everything it covers must be synced before."""
        self._write("checkpoint", note.encode())
        self.sync()

    def sync(self) -> None:
        """Make all files written so far durable: fsync the directories that name them."""
        while self._unsynced:
            directory = self._unsynced.pop()
            try:
                _fsync_directory(directory)
            except OSError:
                self._unsynced.add(directory)
                raise

    def drop_partial(self, level: int, n: int) -> None:
        """Delete the partial forms of a tile that is full now; for level 0, those of its bundle too."""
        names = [tile_path(level, n, 1), *([entries_path(n, 1)] if level == 0 else [])]
        for name in names:
            shutil.rmtree((self.root / name).parent, ignore_errors=True)  # only saves space

    def read_tile(self, level: int, n: int, width: int) -> list[bytes]:
        """The first `width` hashes of a tile; a full tile stands in for a partial one."""
        for stored in sorted({width, 256}):
            data = self._read(tile_path(level, n, stored), MAX_TILE_BYTES)
            if data is not None:
                return parse_tile(data, stored)[:width]
        raise FileNotFoundError(f"{self.root / tile_path(level, n, width)} is missing")

    def read_entries(self, n: int) -> list[bytes]:
        """The entries of a full bundle."""
        data = self._read(entries_path(n), MAX_BUNDLE_BYTES)
        if data is None:
            raise FileNotFoundError(f"{self.root / entries_path(n)} is missing")
        return parse_bundle(data)

    def read_checkpoint(self) -> str | None:
        """The signed checkpoint, None if there is none."""
        data = self._read("checkpoint", MAX_CHECKPOINT_BYTES)
        return None if data is None else data.decode()

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            with (self.root / name).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name
        temporary = path.with_name(path.name + ".tmp")
        try:
            file = temporary.open("wb")
        except FileNotFoundError:
            self._make_directory(path.parent)
            file = temporary.open("wb")
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._unsynced.add(path.parent)

    def _make_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        if directory != self.root:  # the root itself is the operator's: its loss must not go unseen
            self._make_directory(directory.parent)
            directory.mkdir(exist_ok=True)
            self._unsynced.add(directory.parent)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
