"""The verification of a whole log: every entry, every tile, the root, and the story they tell.

What `verify_log` checks as it streams through the entry bundles:

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
from .merkle import Frontier, consistency_proof, leaf_hash, verify_consistency
from .note import MAX_NOTE, SignedNote
from .policy import Endorsement, TrustPolicy
from .source import Source, TiledLog
from .tiles import TILE_HEIGHT, TILE_WIDTH, tile_root

MAX_LEVELS = 8  # 256^8 entries are more than a size of 63 bits can count
Progress = Callable[[int, int], None]


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
    progress: Progress | None = None,
) -> LogReport:
    """Check a whole log against a policy, and optionally that it extends a `previous` checkpoint.

    Raises FormatError if there is no readable checkpoint and NotVerified if a check fails.
    """
    endorsement = policy.check(SignedNote.parse(source.read("checkpoint", MAX_NOTE)))
    older = None if previous is None else _check_older(previous, endorsement, policy)
    checkpoint = endorsement.checkpoint
    log = TiledLog(source, checkpoint.size)
    tree, history = _Tree(log), History(checkpoint.origin)
    for n in range(-(-checkpoint.size // TILE_WIDTH)):
        entries = log.bundle(n)
        leaves = [leaf_hash(entry) for entry in entries]
        if older and n == older.checkpoint.size // TILE_WIDTH:
            _check_root(tree.root(leaves[: older.checkpoint.size % TILE_WIDTH]), older, "log_rewritten")
        tree.add(n, leaves)
        for entry, leaf in zip(entries, leaves, strict=True):
            history.add(entry, leaf)
        if progress:
            progress(history.size, checkpoint.size)
    root = tree.finish()
    _check_root(root, endorsement, "root_mismatch")
    if older and older.checkpoint.size == checkpoint.size:
        _check_root(root, older, "log_rewritten")
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


def _check_root(root: bytes, endorsement: Endorsement, reason: str) -> None:
    checkpoint = endorsement.checkpoint
    if root != checkpoint.root:
        raise NotVerified(reason, f"the entries do not lead to the root signed for {checkpoint.size} of them")


class _Tree:
    """The tree over the bundles so far: for every level, the hashes of its last, partial tile."""

    def __init__(self, log: TiledLog):
        self.log = log
        self.levels: list[list[bytes]] = [[] for _ in range(MAX_LEVELS)]

    def add(self, n: int, hashes: list[bytes], level: int = 0) -> None:
        """Add tile `n` of a level, computed from what is below; it must be the log's."""
        if self.log.tile(level, n) != hashes:
            raise NotVerified(
                "tile_mismatch", f"tile {n} of level {level} is not what lies below it hashes to"
            )
        if len(hashes) < TILE_WIDTH:
            self.levels[level] = hashes
            return
        above = self.levels[level + 1]
        above.append(tile_root(hashes))
        if len(above) == TILE_WIDTH:
            self.levels[level + 1] = []
            self.add(n // TILE_WIDTH, above, level + 1)

    def finish(self) -> bytes:
        """Compare the partial tiles of the upper levels with the log's; return the root."""
        for level in range(1, MAX_LEVELS):
            if self.levels[level]:
                self.add(self.log.size >> (TILE_HEIGHT * (level + 1)), self.levels[level], level)
        return self.root(self.levels[0])

    def root(self, leaves: list[bytes]) -> bytes:
        """The root over the full bundles so far and these further leaf hashes."""
        frontier = Frontier()
        for level in range(MAX_LEVELS - 1, 0, -1):
            for subtree in self.levels[level]:
                frontier.append(subtree, TILE_HEIGHT * level)
        for leaf in leaves:
            frontier.append(leaf)
        return frontier.root()
