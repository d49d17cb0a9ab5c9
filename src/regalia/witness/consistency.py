"""Consistency proofs (RFC 6962, section 2.1.4.1): that a larger tree begins with a smaller one. Pure.

`regalia_verify` does without: who has the log's tiles compares both roots with them.
"""

from collections.abc import Sequence

from regalia_verify.errors import NotVerified
from regalia_verify.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    NodeHash,
    Range,
    middle_of,
    node_hash,
    range_hash,
)


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges that a consistency proof between trees of `old` and `new` leaves lists."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    if old in {0, new}:
        return []
    ranges: list[Range] = []
    start, end = 0, new
    while end != old:
        middle = middle_of(start, end)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:  # otherwise this is all of the old tree, whose root the verifier has
        ranges.append((start, end))
    return ranges[::-1]


def consistency_proof(old: int, new: int, node: NodeHash) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves begins with the tree of `old` leaves."""
    return tuple(range_hash(start, end, node) for start, end in consistency_ranges(old, new))


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends the tree of `old`; raise NotVerified otherwise."""
    if not 0 <= old <= new:
        raise NotVerified("log_shrunk", f"the newer tree has {new} entries, the older {old}")
    if any(len(value) != HASH_SIZE for value in (*proof, old_root, new_root)):
        raise NotVerified("hash_length", f"a hash is not {HASH_SIZE} bytes long")
    ranges = consistency_ranges(old, new)
    if len(proof) != len(ranges):
        raise NotVerified("consistency_proof", f"the proof has {len(proof)} hashes, expected {len(ranges)}")
    known = dict(zip(ranges, proof, strict=True))
    if old in {new, old & -old}:  # a subtree of the new tree, so the proof leaves out what the verifier has
        known[0, old] = old_root
    if old == 0:  # whatever tree extends the empty one
        known |= {(0, new): new_root, (0, 0): EMPTY_ROOT}
    if _rebuilt(0, old, known) != old_root or _rebuilt(0, new, known) != new_root:
        raise NotVerified("consistency_proof", "the newer tree does not extend the older one")


def _rebuilt(start: int, end: int, known: dict[Range, bytes]) -> bytes:
    """The hash of a range, from the known hashes that it consists of."""
    if (start, end) in known:
        return known[start, end]
    middle = middle_of(start, end)
    return node_hash(_rebuilt(start, middle, known), _rebuilt(middle, end, known))
