"""RFC 6962 Merkle trees over SHA-256: roots, proofs, and what a proof is made of. All of it is pure.

A tree of n leaves is split at the largest power of two below n, and so on down to the leaves. A
*range* [start, end) is a subtree of that split; proofs are lists of range hashes. A *node* (level,
index) is a complete subtree, over the 2^level leaves from index * 2^level on; logs store these.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

from .errors import NotVerified

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Range = tuple[int, int]
NodeHash = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a log entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def root_hash(hashes: Iterable[bytes]) -> bytes:
    """The root above leaf hashes; or above subtrees of one height, of which the last may be incomplete."""
    level = list(hashes)
    while len(level) > 1:
        unpaired = level[len(level) & ~1 :]  # moves up as it is
        level = [node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=False)] + unpaired
    return level[0] if level else EMPTY_ROOT


def _middle(start: int, end: int) -> int:
    return start + (1 << (end - start - 1).bit_length() - 1)


def _way_down(leaf: int, size: int) -> Iterator[tuple[Range, Range]]:
    """The ranges that a leaf is in, below the root and down to the leaf, each with its sibling."""
    start, end = 0, size
    while end - start > 1:
        middle = _middle(start, end)
        left, right = (start, middle), (middle, end)
        own, sibling = (left, right) if leaf < middle else (right, left)
        yield own, sibling
        start, end = own


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The siblings on the way from leaf `index` to the root, as an inclusion proof lists them."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    return [sibling for _, sibling in _way_down(index, size)][::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges that a consistency proof between trees of `old` and `new` leaves lists."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    ranges = []
    for own, sibling in _way_down(old - 1, new) if 0 < old < new else ():
        ranges.append(sibling)
        if own[1] == old:
            if own[0]:  # otherwise this is all of the old tree, whose root the verifier has
                ranges.append(own)
            break
    return ranges[::-1]


def range_hash(start: int, end: int, node: NodeHash) -> bytes:
    """The hash of a range of a tree, reading complete subtrees with `node(level, index)`."""
    width = end - start
    if width & (width - 1) == 0:
        return node(width.bit_length() - 1, start // width) if width else EMPTY_ROOT
    middle = _middle(start, end)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def inclusion_proof(index: int, size: int, node: NodeHash) -> tuple[bytes, ...]:
    """The proof that leaf `index` is in the tree of `size` leaves."""
    return tuple(range_hash(start, end, node) for start, end in inclusion_ranges(index, size))


def consistency_proof(old: int, new: int, node: NodeHash) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves begins with the tree of `old` leaves."""
    return tuple(range_hash(start, end, node) for start, end in consistency_ranges(old, new))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is at `index` of the tree; raise NotVerified otherwise."""
    if not 0 <= index < size:
        raise NotVerified("index_outside_tree", f"entry {index} is not in a tree of {size} entries")
    known = _known("inclusion_proof", inclusion_ranges(index, size), proof, leaf, root)
    known[index, index + 1] = leaf
    if _rebuilt(0, size, known) != root:
        raise NotVerified("inclusion_proof", "the inclusion proof does not lead to the checkpoint's root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends the tree of `old`; raise NotVerified otherwise."""
    if not 0 <= old <= new:
        raise NotVerified("log_shrunk", f"the newer tree has {new} entries, the older {old}")
    known = _known("consistency_proof", consistency_ranges(old, new), proof, old_root, new_root)
    if old in {new, old & -old}:  # a subtree of the new tree, so the proof leaves out what the verifier has
        known[0, old] = old_root
    if old == 0:  # whatever tree extends the empty one
        known |= {(0, new): new_root, (0, 0): EMPTY_ROOT}
    if _rebuilt(0, old, known) != old_root or _rebuilt(0, new, known) != new_root:
        raise NotVerified("consistency_proof", "the newer tree does not extend the older one")


def _known(reason: str, ranges: list[Range], proof: Sequence[bytes], *others: bytes) -> dict[Range, bytes]:
    """The ranges of a proof with their hashes."""
    if any(len(value) != HASH_SIZE for value in (*proof, *others)):
        raise NotVerified("hash_length", f"a hash is not {HASH_SIZE} bytes long")
    if len(proof) != len(ranges):
        raise NotVerified(reason, f"the proof has {len(proof)} hashes, expected {len(ranges)}")
    return dict(zip(ranges, proof, strict=True))


def _rebuilt(start: int, end: int, known: dict[Range, bytes]) -> bytes:
    """The hash of a range, from the known hashes that it consists of."""
    if (start, end) in known:
        return known[start, end]
    middle = _middle(start, end)
    return node_hash(_rebuilt(start, middle, known), _rebuilt(middle, end, known))
