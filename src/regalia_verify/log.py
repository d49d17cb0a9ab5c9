"""The verification of a whole log. `verify_log` checks as it streams through the entry bundles:

1. The checkpoint satisfies the policy (`policy`).
2. Every bundle hashes to its tile of level 0, every full tile to its hash in the level above, and all
   of them to the checkpoint's root. With an older checkpoint: the log begins with that one's tree.
3. Every entry is a well-formed record (`record`).
4. Entry 0, and no other, is `log.opened`, with the checkpoint's origin (`history`).
5. Every call has one `call.admitted` and after it one outcome, whose `admitted` is the admission's
   leaf hash, and which agrees with it on request, project and route (`history`). Calls that have no
   outcome yet are reported; they are a fault only in a log that is said to be closed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .errors import NotVerified
from .history import History
from .merkle import consistency_proof, leaf_hash, root_hash, verify_consistency
from .note import MAX_NOTE, SignedNote
from .policy import Endorsement, TrustPolicy
from .source import Source, TiledLog
from .tiles import TILE_WIDTH


@dataclass(frozen=True)
class LogReport:
    """A log for which every check has passed."""

    endorsement: Endorsement
    previous: Endorsement | None
    history: History


def verify_log(
    source: Source,
    policy: TrustPolicy,
    *,
    previous: bytes | None = None,
    closed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LogReport:
    """Check a whole log against a policy, and optionally that it extends a `previous` checkpoint.

    Raises FormatError if there is no readable checkpoint and NotVerified if a check fails.
    """
    endorsement = policy.check(SignedNote.parse(source.read("checkpoint", MAX_NOTE)))
    older = None if previous is None else _check_older(previous, endorsement, policy)
    checkpoint = endorsement.checkpoint
    log, history = TiledLog(source, checkpoint.size), History(checkpoint.origin)
    bundles: list[bytes] = []  # the root of each
    for n in range(-(-checkpoint.size // TILE_WIDTH)):
        entries = log.bundle(n)
        leaves = [leaf_hash(entry) for entry in entries]
        _check_tile(log, 0, n, leaves)
        if older and n == (older.checkpoint.size - 1) // TILE_WIDTH:
            begun = leaves[: older.checkpoint.size - n * TILE_WIDTH]
            _check_root([*bundles, root_hash(begun)], older, "log_rewritten")
        bundles.append(root_hash(leaves))
        for entry, leaf in zip(entries, leaves, strict=True):
            history.add(entry, leaf)
        if progress:
            progress(history.size, checkpoint.size)
    _check_upper_tiles(log, bundles[: checkpoint.size // TILE_WIDTH])
    _check_root(bundles, endorsement, "root_mismatch")
    if closed and history.open:
        raise NotVerified("outcome_missing", f"{len(history.open)} calls have no outcome in a closed log")
    return LogReport(endorsement, older, history)


def verify_extension(
    old: bytes, new: bytes, policy: TrustPolicy, proof: Source | tuple[bytes, ...]
) -> tuple[Endorsement, Endorsement]:
    """Check that the checkpoint `new` extends `old`, by a proof or by the tiles of the log."""
    newer = policy.check(SignedNote.parse(new))
    older = _check_older(old, newer, policy)
    first, second = older.checkpoint, newer.checkpoint
    if not isinstance(proof, tuple):
        proof = consistency_proof(first.size, second.size, TiledLog(proof, second.size).node)
    verify_consistency(first.size, second.size, first.root, second.root, proof)
    return older, newer


def _check_older(note: bytes, newer: Endorsement, policy: TrustPolicy) -> Endorsement:
    older = policy.check(SignedNote.parse(note))
    origin, size = newer.checkpoint.origin, newer.checkpoint.size
    if older.checkpoint.origin != origin:
        raise NotVerified("other_log", f"the older checkpoint is by {older.checkpoint.origin}, not {origin}")
    if older.checkpoint.size > size:
        raise NotVerified("log_shrunk", f"the log has {size} entries; it already had {older.checkpoint.size}")
    return older


def _check_upper_tiles(log: TiledLog, hashes: list[bytes]) -> None:
    """Check the tiles above level 0, given the roots of the full bundles."""
    level = 1
    while hashes:
        tiles = [hashes[start : start + TILE_WIDTH] for start in range(0, len(hashes), TILE_WIDTH)]
        for n, tile in enumerate(tiles):
            _check_tile(log, level, n, tile)
        hashes = [root_hash(tile) for tile in tiles if len(tile) == TILE_WIDTH]
        level += 1


def _check_tile(log: TiledLog, level: int, n: int, hashes: list[bytes]) -> None:
    if log.tile(level, n) != hashes:
        raise NotVerified("tile_mismatch", f"tile {n} of level {level} is not what lies below it hashes to")


def _check_root(bundles: list[bytes], endorsement: Endorsement, reason: str) -> None:
    checkpoint = endorsement.checkpoint
    if root_hash(bundles) != checkpoint.root:
        raise NotVerified(reason, f"the entries do not lead to the root signed for {checkpoint.size} of them")
