"""The files of a tiled log (https://c2sp.org/tlog-tiles), and where they come from: a folder or a URL.

A full tile is 256 hashes wide. Tile n of level L holds the roots of the complete subtrees over
256^L entries each; a bundle holds the entries themselves, each after its length as uint16.
"""

import time
import urllib.error
import urllib.request
from functools import lru_cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from .errors import FormatError, NotVerified
from .merkle import HASH_SIZE, root_hash

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_ENTRY = 65535
MAX_TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY)
TIMEOUT_S = 30
CACHED_TILES = 64


def tile_path(level: int | str, n: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/067.p/112`: the path of tile `n`, which is partial if `width` is below 256."""
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"a tile is 1 to {TILE_WIDTH} wide, not {width}")
    *thousands, last = (digits.zfill(3) for digits in f"{n:,}".split(","))
    number = "".join(f"x{digits}/" for digits in thousands) + last
    return f"tile/{level}/{number}" + (f".p/{width}" if width < TILE_WIDTH else "")


entries_path = partial(tile_path, "entries")  # likewise of an entry bundle


def tile_width(level: int, n: int, size: int) -> int:
    """How many hashes tile `n` of `level` holds in a log of `size` entries; 0 if it does not exist."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH))


def tile_of_node(level: int, index: int) -> tuple[int, int, int, int]:
    """Where a node (see `merkle`) lies: tile level, tile number, first hash, number of hashes below it."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    return tile_level, first // TILE_WIDTH, first % TILE_WIDTH, 1 << height


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile that must be `width` wide."""
    if len(data) != width * HASH_SIZE:
        raise FormatError(f"tile: expected {width} hashes in {width * HASH_SIZE} bytes, got {len(data)}")
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def parse_bundle(data: bytes, width: int | None = None) -> list[bytes]:
    """The entries of a bundle, which must be `width` if that is known; every byte must belong to one."""
    entries = []
    offset, end = 0, len(data)
    while offset < end:
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        if start > end or offset > end:
            raise FormatError("entry bundle: cut off within an entry")
        entries.append(data[start:offset])
    if len(entries) > TILE_WIDTH or width not in (None, len(entries)):
        raise FormatError(f"entry bundle: {len(entries)} entries, expected {width or 'at most 256'}")
    return entries


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
    is missing or malformed is a fault of the log: NotVerified. Only bundles below the index `minimum`,
    the first one excepted, may be missing; they read as empty.
    """

    def __init__(self, source: Source, size: int, minimum: int = 0):
        self.source = source
        self.size = size
        self.minimum = minimum
        self.tile = lru_cache(CACHED_TILES)(self._read)  # the hashes of tile (level, n)

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree, for proofs (see `merkle`)."""
        tile_level, n, first, count = tile_of_node(level, index)
        return root_hash(self.tile(tile_level, n)[first : first + count])

    def bundle(self, n: int) -> list[bytes]:
        """The entries of bundle `n` that belong to the checkpoint."""
        return self._read("entries", n)

    def _read(self, level: int | str, n: int) -> list[bytes]:
        if isinstance(level, int):
            kind, parse, limit, width = "tile", parse_tile, MAX_TILE_BYTES, tile_width(level, n, self.size)
        else:
            kind, parse, limit, width = "bundle", parse_bundle, MAX_BUNDLE_BYTES, tile_width(0, n, self.size)
        for stored in sorted({width, TILE_WIDTH}):
            path = tile_path(level, n, stored)
            try:
                data = self.source.read(path, limit)
            except Missing:
                continue
            try:
                return parse(data, stored)[:width]
            except FormatError as error:
                raise NotVerified(f"{kind}_malformed", f"{path}: {error}") from error
        if kind == "bundle" and 0 < n < self.minimum // TILE_WIDTH:
            return []
        raise NotVerified("file_missing", f"the log lacks {tile_path(level, n, width)}")
