"""The published log as files: tiles, entry bundles and the checkpoint (https://c2sp.org/tlog-tiles).

A file is written beside its place, fsynced and renamed, so a reader sees all of it or none, and of two
processes that write the same file neither meets the other's. Full tiles
and bundles never change. What `sync` has returned for survives a power cut.
"""

import os
import secrets
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from regalia.ledger.writing import encode_bundle
from regalia_verify.source import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    TILE_WIDTH,
    entries_path,
    parse_tile,
    tile_path,
)

MAX_CHECKPOINT_BYTES = 512 * 1024
WRITERS = 4
MAX_WRITING = 16


class AwayError(FileNotFoundError):
    """The file is in an archive that is not attached."""


class LogFolder:
    """The folder that is served at /log/. One publisher writes it; reading is safe at any time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # A file system commits fsyncs that wait at the same time together: four are five times as fast.
        self._own = secrets.token_hex(4)
        self._pool = ThreadPoolExecutor(WRITERS, "regalia-files")
        self._writing: deque[Future[None]] = deque()  # files not yet durable; owned by the publisher
        self._unsynced: set[Path] = set()  # directories to fsync; owned by the publisher

    def create(self) -> None:
        """Make the folder itself, durably, for a log that has published nothing yet."""
        self.root.mkdir(parents=True, exist_ok=True)
        _fsync_directory(self.root.parent)

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
        """Wait until all files written so far are durable, and fsync the directories that name them.

        Raises the error of a file that could not be written.
        """
        self._wait_for_files(0)
        directories, self._unsynced = self._unsynced, set()
        try:
            list(self._pool.map(_fsync_directory, directories))
        except OSError:
            self._unsynced |= directories
            raise

    def drop_partial(self, level: int, n: int) -> None:
        """Delete the partial forms of a tile that is full now; for level 0, those of its bundle too."""
        names = [tile_path(level, n, 1), *([entries_path(n, 1)] if level == 0 else [])]
        for name in names:
            shutil.rmtree((self.root / name).parent, ignore_errors=True)  # only saves space

    def read_tile(self, level: int, n: int, width: int) -> list[bytes]:
        """The first `width` hashes of a tile; a full tile stands in for a partial one."""
        for stored in sorted({width, TILE_WIDTH}):
            data = self._read(tile_path(level, n, stored), MAX_TILE_BYTES)
            if data is not None:
                return parse_tile(data, stored)[:width]
        full = self.root / tile_path(level, n)
        wanted = full if full.is_symlink() else self.root / tile_path(level, n, width)
        raise _missing(wanted)

    def read_entry(self, index: int) -> bytes:
        """An entry from its full bundle."""
        n, place = divmod(index, TILE_WIDTH)
        bundle = self._read(entries_path(n), MAX_BUNDLE_BYTES)
        if bundle is None:
            raise _missing(self.root / entries_path(n))
        start = 0
        for _ in range(place):  # each entry follows its length; see `tiles.parse_bundle`
            start += 2 + int.from_bytes(bundle[start : start + 2], "big")
        length = int.from_bytes(bundle[start : start + 2], "big")
        return bundle[start + 2 : start + 2 + length]

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

    def close(self) -> None:
        """End the threads; whatever is being written is awaited."""
        self._pool.shutdown()

    def _write(self, name: str, data: bytes) -> None:
        """Begin to write a file; `sync` ends it."""
        path = self.root / name
        self._make_directory(path.parent)
        self._unsynced.add(path.parent)
        self._wait_for_files(MAX_WRITING)
        self._writing.append(self._pool.submit(_write_durably, path, data, self._own))

    def _wait_for_files(self, left: int) -> None:
        """Wait until no more than so many files are being written."""
        try:
            while len(self._writing) > left:
                self._writing.popleft().result()
        except BaseException:
            wait(self._writing)  # nothing of a failed attempt may land while the next one runs
            self._writing.clear()
            raise

    def _make_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        if directory != self.root:  # the root itself is the operator's: its loss must not go unseen
            self._make_directory(directory.parent)
            directory.mkdir(exist_ok=True)
            self._unsynced.add(directory.parent)


def _missing(path: Path) -> FileNotFoundError:
    if path.is_symlink():
        return AwayError(f"the archive with {path.readlink()} is not attached: bring it back")
    return FileNotFoundError(f"{path} is missing")


def _write_durably(path: Path, data: bytes, own: str) -> None:
    temporary = path.with_name(f"{path.name}.{own}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
