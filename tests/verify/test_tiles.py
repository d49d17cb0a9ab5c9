"""Tiles and bundles: paths, widths, and bytes that mean one thing only."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.ledger.writing import encode_bundle
from regalia_verify.errors import FormatError
from regalia_verify.merkle import leaf_hash, root_hash
from regalia_verify.source import (
    MAX_ENTRY,
    TILE_WIDTH,
    TiledLog,
    entries_path,
    parse_bundle,
    parse_tile,
    tile_of_node,
    tile_path,
    tile_width,
)
from verify.paper_log import Files


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tile_path(0, 0), "tile/0/000"),
        (tile_path(0, 1234067), "tile/0/x001/x234/067"),
        (tile_path(2, 999, 17), "tile/2/999.p/17"),
        (tile_path(63, 1000, 255), "tile/63/x001/000.p/255"),
        (entries_path(0), "tile/entries/000"),
        (entries_path(273, 112), "tile/entries/273.p/112"),
        (entries_path(10**6), "tile/entries/x001/x000/000"),
    ],
)
def test_paths_are_those_of_the_specification(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("width", [0, -1, 257])
def test_there_is_no_tile_of_another_width(width: int) -> None:
    with pytest.raises(ValueError, match="wide"):
        tile_path(0, 0, width)


@given(st.integers(0, 2**55), st.integers(1, 256))
def test_a_path_tells_number_and_width(n: int, width: int) -> None:
    path = entries_path(n, width).removeprefix("tile/entries/")
    assert re.fullmatch(r"(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?", path)
    number, _, partial = path.partition(".p/")
    assert int(number.replace("x", "").replace("/", "")) == n
    assert int(partial or 256) == width


def test_widths_of_the_specification_s_examples() -> None:
    assert [tile_width(0, 273, 70_000), tile_width(0, 272, 70_000), tile_width(0, 274, 70_000)] == [
        112,
        256,
        0,
    ]
    assert [tile_width(1, 0, 70_000), tile_width(1, 1, 70_000), tile_width(2, 0, 70_000)] == [256, 17, 1]
    assert [tile_width(0, 0, 256), tile_width(1, 0, 256), tile_width(1, 0, 255)] == [256, 1, 0]


@given(st.lists(st.binary(max_size=300), max_size=TILE_WIDTH))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    assert parse_bundle(encode_bundle(entries)) == entries


@given(st.binary(max_size=600))
def test_what_parses_as_a_bundle_is_its_only_spelling(data: bytes) -> None:
    try:
        entries = parse_bundle(data)
    except FormatError:
        return
    assert encode_bundle(entries) == data


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.data())
def test_a_bundle_cut_anywhere_within_an_entry_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    bundle = encode_bundle(entries)
    boundaries = {len(encode_bundle(entries[:count])) for count in range(len(entries) + 1)}
    cut = data.draw(st.integers(0, len(bundle)).filter(lambda place: place not in boundaries))
    with pytest.raises(FormatError, match="cut off"):
        parse_bundle(bundle[:cut])


def test_bundles_are_bounded() -> None:
    assert parse_bundle(encode_bundle([b"x" * MAX_ENTRY])) == [b"x" * MAX_ENTRY]
    with pytest.raises(FormatError, match="longer than"):
        encode_bundle([b"x" * (MAX_ENTRY + 1)])
    with pytest.raises(FormatError, match="at most 256"):
        parse_bundle(b"\0\0" * 257)


@given(st.integers(1, 256))
def test_tiles_have_exactly_their_width(width: int) -> None:
    hashes = [leaf_hash(bytes([n % 256])) for n in range(width)]
    assert parse_tile(b"".join(hashes), width) == hashes
    for wrong in (b"".join(hashes)[:-1], b"".join(hashes) + b"\0", b"".join(hashes[:-1])):
        with pytest.raises(FormatError, match="expected"):
            parse_tile(wrong, width)


def test_every_node_is_found_in_its_tile() -> None:
    size = 70_000
    leaves = [leaf_hash(n.to_bytes(3, "big")) for n in range(size)]
    levels = [leaves]
    while len(levels[-1]) >= TILE_WIDTH:
        below = levels[-1]
        levels.append(
            [root_hash(below[n : n + TILE_WIDTH]) for n in range(0, len(below) - TILE_WIDTH + 1, TILE_WIDTH)]
        )
    files = Files()
    for level, hashes in enumerate(levels):
        for start in range(0, len(hashes), TILE_WIDTH):
            tile = hashes[start : start + TILE_WIDTH]
            files[tile_path(level, start // TILE_WIDTH, len(tile))] = b"".join(tile)
    log = TiledLog(files, size)
    for level in range(17):
        for index in {0, 1, (size >> level) - 1, (size >> level) // 2}:
            if 0 <= index < size >> level:
                assert log.node(level, index) == root_hash(leaves[index << level : (index + 1) << level])
    assert tile_of_node(17, 0) == (2, 0, 0, 2)
    assert log.node(16, 0) == root_hash(leaves[: 1 << 16])
