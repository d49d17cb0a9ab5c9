"""Where a log's files come from: a folder, or a URL when one is asked for."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from . import tiles
from .errors import FormatError, NotVerified
from .merkle import root_hash

TIMEOUT_S = 30
CACHED_TILES = 64
PathOf = Callable[[int], str]  # of a file of this width
Parse = Callable[[bytes, int], list[bytes]]  # of which there must be so many


class Missing(FormatError):
    """The log does not have this file."""


class Source(Protocol):
    """A log, as files under their paths."""

    def read(self, path: str, limit: int) -> bytes:
        """One file of at most `limit` bytes; Missing if there is none, FormatError if it can't be read."""


class Folder:
    """A log in a folder."""

    def __init__(self, root: Path):
        self.root = root

    def read(self, path: str, limit: int) -> bytes:
        """Read a file of the log."""
        return read_file(self.root / path, limit)


class Web:
    """A log behind a URL prefix. Redirects are not followed: they could lead to files of this machine."""

    def __init__(self, prefix: str):
        self.prefix = prefix.rstrip("/")
        self._opener = urllib.request.build_opener(_NoRedirects)

    def read(self, path: str, limit: int) -> bytes:
        """Read a file of the log; the timeout is for all of it, and for each packet."""
        url = f"{self.prefix}/{path}"
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http(s), see open_source
        deadline = time.monotonic() + TIMEOUT_S
        body = bytearray()
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as reply:
                if reply.headers.get("Content-Encoding", "identity") != "identity":
                    raise FormatError(f"{url}: the server compresses although it was asked not to")
                while len(body) <= limit and (chunk := reply.read1(limit + 1 - len(body))):
                    body += chunk
                    if time.monotonic() > deadline:
                        raise FormatError(f"{url}: took longer than {TIMEOUT_S} s")
        except (OSError, HTTPException) as error:
            missing = isinstance(error, urllib.error.HTTPError) and error.code in {404, 410}
            raise (Missing if missing else FormatError)(f"{url}: {error}") from error
        return _bounded(bytes(body), limit, url)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def open_source(location: str) -> Source:
    """A folder's path, or a URL that starts with http:// or https://."""
    if location.startswith(("http://", "https://")):
        return Web(location)
    if not Path(location).is_dir():
        raise FormatError(f"{location}: not a folder, and not an http(s) URL")
    return Folder(Path(location))


def read_file(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes."""
    try:
        with path.open("rb") as file:
            return _bounded(file.read(limit + 1), limit, str(path))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise (Missing if missing else FormatError)(f"{path}: {error.strerror}") from error


def _bounded(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise FormatError(f"{what}: longer than {limit} bytes")
    return data


class TiledLog:
    """The tiles and bundles of a log whose checkpoint has `size` entries.

    A partial file may have been replaced by the full one since, so that is tried too. A file that
    is missing or malformed is a fault of the log: NotVerified.
    """

    def __init__(self, source: Source, size: int):
        self.source = source
        self.size = size
        self.tile = lru_cache(CACHED_TILES)(self._tile)

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree, for proofs (see `merkle`)."""
        tile_level, n, first, count = tiles.tile_of_node(level, index)
        return root_hash(self.tile(tile_level, n)[first : first + count])

    def bundle(self, n: int) -> list[bytes]:
        """The entries of bundle `n` that belong to the checkpoint."""
        width, path = tiles.tile_width(0, n, self.size), partial(tiles.entries_path, n)
        return self._read("bundle", path, width, tiles.MAX_BUNDLE_BYTES, tiles.parse_bundle)

    def _tile(self, level: int, n: int) -> list[bytes]:
        """The hashes of a tile that belong to the checkpoint."""
        width, path = tiles.tile_width(level, n, self.size), partial(tiles.tile_path, level, n)
        return self._read("tile", path, width, tiles.MAX_TILE_BYTES, tiles.parse_tile)

    def _read(self, kind: str, path: PathOf, width: int, limit: int, parse: Parse) -> list[bytes]:
        for stored in (width, tiles.TILE_WIDTH):
            try:
                data = self.source.read(path(stored), limit)
            except Missing:
                continue
            try:
                return parse(data, stored)[:width]
            except FormatError as error:
                raise NotVerified(f"{kind}_malformed", f"{path(stored)}: {error}") from error
        raise NotVerified("file_missing", f"the log lacks {path(width)}")
