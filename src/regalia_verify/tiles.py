"""The files of a tiled log (https://c2sp.org/tlog-tiles): tiles of hashes and bundles of entries.

A full tile is 256 hashes wide. Tile n of level L holds the roots of the complete subtrees over
256^L entries each; a bundle holds the entries themselves, each after its length as uint16.
"""

from .errors import FormatError
from .merkle import HASH_SIZE

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_ENTRY = 65535
MAX_TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY)


def tile_path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/067.p/112`: the path of tile `n`, which is partial if `width` is below 256."""
    return _path(f"tile/{level}", n, width)


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """`tile/entries/x001/067.p/112`: the path of entry bundle `n`."""
    return _path("tile/entries", n, width)


def _path(folder: str, n: int, width: int) -> str:
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"a tile is 1 to {TILE_WIDTH} wide, not {width}")
    *thousands, last = (digits.zfill(3) for digits in f"{n:,}".split(","))
    number = "".join(f"x{digits}/" for digits in thousands) + last
    return f"{folder}/{number}" if width == TILE_WIDTH else f"{folder}/{number}.p/{width}"


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


def encode_bundle(entries: list[bytes]) -> bytes:
    """An entry bundle; entries of more than 65,535 bytes do not exist in this format."""
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise FormatError(f"entry: longer than {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


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
