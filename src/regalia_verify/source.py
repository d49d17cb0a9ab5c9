"""Where a log's files come from: a folder, or a URL when one is asked for.

A source reads one file of at most `limit` bytes. It raises `Missing` if the log does not have the
file, and FormatError if it cannot be read or is too long.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache, partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol

from . import tiles
from .errors import FormatError, NotVerified

TIMEOUT_S = 30
CACHED_TILES = 64


class Missing(FormatError):
    """The log does not have this file."""


class Source(Protocol):
    """A log, as files under their paths."""

    def read(self, path: str, limit: int) -> bytes:
        """The content of one file."""
        ...


class Folder:
    """A log in a folder."""

    def __init__(self, root: Path):
        self.root = root

    def read(self, path: str, limit: int) -> bytes:
        """The content of one file."""
        return read_file(self.root / path, limit)


class Web:
    """A log behind a URL prefix; redirects stay within its scheme."""

    def __init__(self, prefix: str):
        self.prefix = prefix.rstrip("/")
        self._opener = urllib.request.build_opener(_SameScheme)

    def read(self, path: str, limit: int) -> bytes:
        """The content of one file."""
        url = f"{self.prefix}/{path}"
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http(s), see open_source
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as reply:
                if reply.headers.get("Content-Encoding", "identity") != "identity":
                    raise FormatError(f"{url}: the server compresses although it was asked not to")
                return _bounded(_read_reply(reply, limit + 1, url), limit, url)
        except urllib.error.HTTPError as error:
            if error.code in {404, 410}:
                raise Missing(f"{url}: HTTP status {error.code}") from error
            raise FormatError(f"{url}: HTTP status {error.code}") from error
        except (OSError, HTTPException) as error:
            raise FormatError(f"{url}: {error}") from error


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Neither into files of this machine, nor from https to http."""

    def redirect_request(self, req: urllib.request.Request, *rest: Any) -> urllib.request.Request | None:
        """Refuse to follow into another scheme."""
        request = super().redirect_request(req, *rest)
        if request is not None and request.type != req.type:
            raise FormatError(f"{req.full_url}: redirects to another scheme: {request.full_url[:200]}")
        return request


def _read_reply(reply: HTTPResponse, limit: int, url: str) -> bytes:
    """At most `limit` bytes of a reply; the timeout is for all of it, not for each packet."""
    deadline = time.monotonic() + TIMEOUT_S
    body = bytearray()
    while len(body) < limit and (chunk := reply.read1(limit - len(body))):
        body += chunk
        if time.monotonic() > deadline:
            raise FormatError(f"{url}: took longer than {TIMEOUT_S} s")
    return bytes(body)


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
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(f"{path}: no such file") from error
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from error


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
        return tiles.tile_root(self.tile(tile_level, n)[first : first + count])

    def bundle(self, n: int) -> list[bytes]:
        """The entries of bundle `n` that belong to the checkpoint."""
        width = tiles.tile_width(0, n, self.size)
        data, stored = self._read(partial(tiles.entries_path, n), width, tiles.MAX_BUNDLE_BYTES)
        try:
            entries = tiles.parse_bundle(data)
        except FormatError as error:
            raise NotVerified("bundle_malformed", f"bundle {n}: {error}") from error
        if len(entries) != stored:
            raise NotVerified(
                "bundle_malformed", f"bundle {n}: expected {stored} entries, got {len(entries)}"
            )
        return entries[:width]

    def _tile(self, level: int, n: int) -> list[bytes]:
        """The hashes of a tile that belong to the checkpoint."""
        width = tiles.tile_width(level, n, self.size)
        data, stored = self._read(partial(tiles.tile_path, level, n), width, tiles.MAX_TILE_BYTES)
        try:
            return tiles.parse_tile(data, stored)[:width]
        except FormatError as error:
            raise NotVerified("tile_malformed", f"tile {n} of level {level}: {error}") from error

    def _read(self, path: Callable[[int], str], width: int, limit: int) -> tuple[bytes, int]:
        """The file of this width, or failing that the full one; and the width of what was found."""
        for stored in (width, tiles.TILE_WIDTH):
            try:
                return self.source.read(path(stored), limit), stored
            except Missing:
                continue
        raise NotVerified("file_missing", f"the log lacks {path(width)}")


def _bounded(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise FormatError(f"{what}: longer than {limit} bytes")
    return data
