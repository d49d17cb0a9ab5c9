"""RFC 6962 Merkle trees over SHA-256: roots, proofs, and what a proof is made of.

A tree of n leaves is split at the largest power of two below n. A *range* [start, end) is a subtree
of that split; a *node* (level, index) is a complete subtree over the 2^level leaves that start at
index * 2^level. Proofs are lists of range hashes. Logs store nodes, so `range_nodes` says which
nodes make up a range, and `range_hash` puts them together.

Everything here is pure: who reads the nodes is the caller's business.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from .errors import NotVerified

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Node = tuple[int, int]
Range = tuple[int, int]
NodeHash = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a log entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """An append-only tree that keeps only the complete subtrees to its left (a compact range).

    Holds one hash for each bit set in `size`, the largest subtree first.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()):
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees")

    def append(self, subtree: bytes, level: int = 0) -> None:
        """Add a leaf hash, or the root of the next 2^level leaves (then `size` must be aligned)."""
        if self.size & ((1 << level) - 1):
            raise ValueError(f"size {self.size} is not a multiple of 2^{level}")
        position = self.size >> level
        while position & 1:
            subtree = node_hash(self.hashes.pop(), subtree)
            position >>= 1
        self.hashes.append(subtree)
        self.size += 1 << level

    def root(self) -> bytes:
        """The RFC 6962 root of the leaves so far."""
        return fold(self.hashes)


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root above complete subtrees of falling size, left to right."""
    if not subtrees:
        return EMPTY_ROOT
    root = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        root = node_hash(left, root)
    return root


def root_hash(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of a tree, given its leaf hashes in order."""
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf)
    return frontier.root()


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The siblings on the way from leaf `index` to the root, as an inclusion proof lists them."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    siblings = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    return siblings[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges that a consistency proof between trees of `old` and `new` leaves lists."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    if old in {0, new}:
        return []
    ranges = []
    start, end = 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:  # otherwise the old root itself starts the proof, and the verifier has it
        ranges.append((start, end))
    return ranges[::-1]


def range_nodes(start: int, end: int) -> list[Node]:
    """The complete subtrees that a range consists of, left to right."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def range_hash(start: int, end: int, node: NodeHash) -> bytes:
    """The hash of a range, reading complete subtrees with `node(level, index)`."""
    return fold([node(level, index) for level, index in range_nodes(start, end)])


def inclusion_proof(index: int, size: int, node: NodeHash) -> tuple[bytes, ...]:
    """The proof that leaf `index` is in the tree of `size` leaves."""
    return tuple(range_hash(start, end, node) for start, end in inclusion_ranges(index, size))


def consistency_proof(old: int, new: int, node: NodeHash) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves begins with the tree of `old` leaves."""
    return tuple(range_hash(start, end, node) for start, end in consistency_ranges(old, new))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is at `index` of the tree; raise NotVerified otherwise."""
    _check_lengths([leaf, root, *proof])
    if not 0 <= index < size:
        raise NotVerified("index_outside_tree", f"entry {index} is not in a tree of {size} entries")
    siblings = inclusion_ranges(index, size)
    if len(proof) != len(siblings):
        raise NotVerified(
            "inclusion_proof", f"the inclusion proof has {len(proof)} hashes, expected {len(siblings)}"
        )
    computed = leaf
    for (start, _), sibling in zip(siblings, proof, strict=True):
        computed = node_hash(sibling, computed) if start <= index else node_hash(computed, sibling)
    if computed != root:
        raise NotVerified("inclusion_proof", "the inclusion proof does not lead to the checkpoint's root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends the tree of `old`; raise NotVerified otherwise."""
    _check_lengths([old_root, new_root, *proof])
    if not 0 <= old <= new:
        raise NotVerified("log_shrunk", f"the newer tree has {new} entries, the older {old}")
    ranges = consistency_ranges(old, new)
    if len(proof) != len(ranges):
        raise NotVerified(
            "consistency_proof", f"the consistency proof has {len(proof)} hashes, expected {len(ranges)}"
        )
    if old == 0:
        if old_root != EMPTY_ROOT or (new == 0 and new_root != EMPTY_ROOT):
            raise NotVerified("consistency_proof", "an empty tree has another root than the one given")
        return
    hashes = list(proof)
    computed_old = computed_new = old_root if not ranges or ranges[0][1] > old else hashes.pop(0)
    for (start, _), sibling in zip(ranges[len(ranges) - len(hashes) :], hashes, strict=True):
        if start < old:
            computed_old = node_hash(sibling, computed_old)
            computed_new = node_hash(sibling, computed_new)
        else:
            computed_new = node_hash(computed_new, sibling)
    if computed_old != old_root or computed_new != new_root:
        raise NotVerified("consistency_proof", "the newer tree does not extend the older one")


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_lengths(hashes: Iterable[bytes]) -> None:
    if any(len(value) != HASH_SIZE for value in hashes):
        raise NotVerified("hash_length", f"a hash is not {HASH_SIZE} bytes long")
