"""The verification of a whole log. `verify_log` checks as it streams through the entry bundles:

1. The checkpoint satisfies the policy after all rotations of the log's keys (`policy`, `rotation`).
2. Every bundle hashes to its tile of level 0, every full tile to its hash in the level above, and all
   of them to the checkpoint's root. With an older checkpoint: the log begins with that one's tree, or
   its `log.opened` names it as the end of the log that this one continues.
3. Every entry is a well-formed record (`record`).
4. Entry 0, and no other, is `log.opened`, with the checkpoint's origin (`History`).
5. Every call has one `call.admitted` and after it one outcome, whose `admitted` is the admission's
   leaf hash, and which agrees with it on request, project and route (`History`). Calls that have no
   outcome yet are reported; they are a fault only in a log that is said to be closed.

Bundles below a minimum index may be in an archive, if the log has declared it (`admin.log_archived`). For
one that is not at hand stands its hash in the level above, and 5 is about the calls admitted from there on.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

from .errors import FormatError, NotVerified
from .merkle import leaf_hash, range_hash, root_hash
from .note import MAX_NOTE, Checkpoint, SignedNote
from .policy import Endorsement, TrustPolicy
from .record import OUTCOMES, Record, parse
from .source import TILE_HEIGHT, TILE_WIDTH, Source, TiledLog

LINKED_FIELDS = ("request", "project", "route")  # the same in a call's outcome as in its admission


class History:
    """What a log's records say together, so far; times are in milliseconds since the epoch.

    Memory grows by some 150 bytes a call, because its id is remembered to detect a second use.
    """

    def __init__(self, origin: str, minimum: int):
        self.origin = origin
        self.minimum = minimum  # calls are followed from this entry on
        self.size = 0
        self.kinds: Counter[str] = Counter()
        self.root: list[str] = []  # the verifier keys that `log.opened` or `log.root_added` names
        self.rotations: list[tuple[int, Record]] = []
        self.previous: Record | None = None  # origin, size and root of the log that this one continues
        self.first_time = self.last_time = self.times_backwards = 0
        self.declared = 0  # the highest minimum index on record
        self.admitted_before = 0  # calls that only ended from the minimum index on
        # Of every call its admission (index, leaf hash and linked fields); None once it has its outcome.
        self._calls: dict[str, tuple[int, bytes, Record] | None] = {}

    @property
    def open(self) -> list[str]:
        """The calls that have no outcome yet."""
        return [call for call, admission in self._calls.items() if admission]

    def add(self, entry: bytes, leaf: bytes) -> None:
        """Take the next entry, with its leaf hash; raise NotVerified if it does not fit."""
        try:
            record = parse(entry)
        except FormatError as error:
            raise self._fault("record_malformed", str(error)) from error
        kind, time = record["kind"], record["time"]
        if (kind == "log.opened") != (self.size == 0):
            raise self._fault("log_opened", "log.opened must be entry 0 and no other")
        if kind.startswith("log."):
            self._take_log(record)
        elif kind == "admin.log_archived":
            self.declared = max(self.declared, record.get("minimum", 0))
        elif kind == "call.admitted" and self.size >= self.minimum:
            self._admit(record, leaf)
        elif kind in OUTCOMES and self.size >= self.minimum:
            self._conclude(record)
        self.first_time = self.first_time if self.kinds else time
        self.kinds[kind] += 1
        self.times_backwards += time < self.last_time
        self.last_time = time
        self.size += 1

    def _take_log(self, record: Record) -> None:
        """Take a record of the log itself: its opening, or a change of its keys."""
        if record["origin"] != self.origin:
            raise self._fault("wrong_origin", f"the record is of {record['origin']}, not {self.origin}")
        if record["kind"] == "log.key_rotated":
            self.rotations.append((self.size, record))
        elif self.root:
            raise self._fault("second_root", "the log already has a root")
        else:
            self.root = record.get("root", [])
        self.previous = record.get("previous") if self.size == 0 else self.previous

    def _admit(self, record: Record, leaf: bytes) -> None:
        call = record["call"]
        if call in self._calls:
            raise self._fault("second_admission", f"{call} was already admitted")
        self._calls[call] = (self.size, leaf, {name: record[name] for name in LINKED_FIELDS})

    def _conclude(self, record: Record) -> None:
        call = record["call"]
        if call not in self._calls and self.admitted_before < self.minimum:
            self.admitted_before += 1
            self._calls[call] = None
            return
        if call not in self._calls:
            raise self._fault("outcome_without_admission", f"{call} was not admitted before this outcome")
        admission = self._calls[call]
        if admission is None:
            raise self._fault("second_outcome", f"{call} already has an outcome")
        index, leaf, linked = admission
        if record["admitted"] != leaf.hex():
            raise self._fault("wrong_admission", f"`admitted` is not the hash of entry {index}")
        for name, value in linked.items():
            if record.get(name, value) != value:  # call.aborted need not repeat them
                raise self._fault("outcome_differs", f"{name} differs from that of entry {index}")
        self._calls[call] = None

    def _fault(self, reason: str, message: str) -> NotVerified:
        return NotVerified(reason, f"entry {self.size}: {message}")


@dataclass(frozen=True)
class LogReport:
    """A log for which every check has passed."""

    endorsement: Endorsement
    previous: Endorsement | None
    history: History


def verify_log(
    source: Source, policy: TrustPolicy, previous: bytes | None = None, closed: bool = False, minimum: int = 0
) -> LogReport:
    """Check a whole log against a policy, and optionally that it extends a `previous` checkpoint.

    Below the index `minimum`, bundles may be missing. Raises FormatError if there is no readable checkpoint,
    or no such index, and NotVerified if a check fails.
    """
    note = SignedNote.parse(source.read("checkpoint", MAX_NOTE))
    older_note = None if previous is None else SignedNote.parse(previous)
    checkpoint = Checkpoint.parse(note.text)
    older = None if older_note is None else Checkpoint.parse(older_note.text)
    for signed in (note, older_note):
        if signed and not policy.roots:  # nothing in the log can change whose signatures count
            policy.check(signed)
    begun = older if older and _same_log(older, checkpoint) else None
    if minimum not in range(0, (begun or checkpoint).size + 1, TILE_WIDTH):
        raise FormatError(
            f"index {minimum}: not a multiple of {TILE_WIDTH}, or beyond the (older) checkpoint"
        )
    log, history = TiledLog(source, checkpoint.size, minimum), History(checkpoint.origin, minimum)
    bundles: list[bytes] = []  # the root of each
    for n in range(-(-checkpoint.size // TILE_WIDTH)):
        entries = log.bundle(n)
        leaves = [leaf_hash(entry) for entry in entries] or [log.node(TILE_HEIGHT, n)]
        if entries:
            _check_tile(log, 0, n, leaves)
        if begun and n == (begun.size - 1) // TILE_WIDTH:
            last = root_hash(leaves[: begun.size - n * TILE_WIDTH])
            _check_root(root_hash([*bundles, last]), begun, "log_rewritten")
        bundles.append(root_hash(leaves))
        history.size = n * TILE_WIDTH
        for entry, leaf in zip(entries, leaves, strict=False):
            history.add(entry, leaf)
    _check_upper_tiles(log, bundles[: checkpoint.size // TILE_WIDTH])
    _check_root(root_hash(bundles), checkpoint, "root_mismatch")
    policy = _followed(policy, history)
    endorsement, earlier = policy.check(note), policy.check(older_note) if older_note else None
    end = older and {"origin": older.origin, "size": older.size, "root": older.root.hex()}
    if end and not begun and history.previous != end:
        raise NotVerified("other_log", f"this is not the log {end['origin']}, nor does it go on at that end")
    if minimum > history.declared:
        raise NotVerified("minimum_not_declared", f"the log declares {history.declared} as minimum index")
    if closed and history.open:
        raise NotVerified("outcome_missing", f"{len(history.open)} calls have no outcome in a closed log")
    return LogReport(endorsement, earlier, history)


def verify_extension(
    old: bytes, new: bytes, policy: TrustPolicy, source: Source
) -> tuple[Endorsement, Endorsement]:
    """Check that the checkpoint `new` extends `old`, by the tiles of the log."""
    older, newer = (policy.check(SignedNote.parse(note)) for note in (old, new))
    first, second = older.checkpoint, newer.checkpoint
    if not _same_log(first, second):
        raise NotVerified("other_log", f"the older checkpoint is by {first.origin}, not {second.origin}")
    node = cache(TiledLog(source, second.size).node)  # both roots must be made of the very same hashes
    for checkpoint, reason in ((second, "root_mismatch"), (first, "log_rewritten")):
        if first != second:
            _check_root(range_hash(0, checkpoint.size, node, first.size), checkpoint, reason)
    return older, newer


def _followed(policy: TrustPolicy, history: History) -> TrustPolicy:
    """The policy after all changes of the log's keys."""
    root = policy.roots.get(history.origin, ())
    if root and [key.encode() for key in root] != history.root:
        raise NotVerified("wrong_root", "the root that the log names is not the one of the policy")
    for index, record in history.rotations:
        policy = policy.rotated(history.origin, record, index)
    return policy


def _same_log(older: Checkpoint, newer: Checkpoint) -> bool:
    """Whether both are of one log, which must not have shrunk."""
    if older.origin == newer.origin and older.size > newer.size:
        raise NotVerified("log_shrunk", f"the log has {newer.size} entries; it already had {older.size}")
    return older.origin == newer.origin


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


def _check_root(root: bytes, checkpoint: Checkpoint, reason: str) -> None:
    if root != checkpoint.root:
        raise NotVerified(reason, f"the log does not lead to the root signed for {checkpoint.size} entries")
