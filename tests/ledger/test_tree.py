"""The right edge against the definition of the tree, and against tiles computed from scratch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from regalia.ledger.tree import Edge
from regalia_verify.merkle import EMPTY_ROOT, leaf_hash, root_hash
from regalia_verify.source import TILE_WIDTH

LEAVES = [leaf_hash(b"%d" % n) for n in range(66_000)]


def test_an_empty_log_has_the_empty_root() -> None:
    assert Edge().root() == EMPTY_ROOT


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2, 7, 100, 255, 256, 257, 1000]), max_size=12))
def test_any_way_of_appending_gives_the_same_root_and_tiles(steps: list[int]) -> None:
    edge = Edge()
    full = []
    for step in steps:
        full += edge.append(LEAVES[edge.size : edge.size + step])
        assert edge.root() == root_hash(LEAVES[: edge.size])
    tiles = {(tile.level, tile.n): tile.hashes for tile in [*full, *edge.partial_tiles()]}
    bottom = [hash_ for n in range(-(-edge.size // TILE_WIDTH)) for hash_ in tiles[0, n]]
    assert bottom == LEAVES[: edge.size]
    for n in range(edge.size // TILE_WIDTH):
        assert tiles[1, 0][n] == root_hash(LEAVES[n * TILE_WIDTH : (n + 1) * TILE_WIDTH])


def test_three_levels() -> None:
    edge = Edge()
    edge.append(LEAVES)
    assert edge.root() == root_hash(LEAVES)
    assert [(tile.level, tile.n, len(tile.hashes)) for tile in edge.partial_tiles()] == [
        (0, 257, 66_000 - 257 * 256),
        (1, 1, 1),
        (2, 0, 1),
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 66_000))
def test_an_edge_loaded_from_tiles_is_the_same(size: int) -> None:
    def read(level: int, n: int, width: int) -> list[bytes]:
        span = 256**level
        starts = range(n * 256 * span, (n * 256 + width) * span, span)
        return [root_hash(LEAVES[start : start + span]) for start in starts]

    assert Edge.load(size, read).root() == root_hash(LEAVES[:size])


def test_a_copy_leaves_the_original_as_it_was() -> None:
    edge = Edge()
    edge.append(LEAVES[:300])
    before = edge.root()
    edge.copy().append(LEAVES[300:900])
    assert (edge.size, edge.root()) == (300, before)
