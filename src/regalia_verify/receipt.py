"""Receipts: the proof that one call's outcome is in the log, and what opens its commitments.

A receipt is a tlog-proof (https://c2sp.org/tlog-proof) whose `extra` is the canonical JSON of

    {"entry": base64(record), "openings": {part: {"salt": base64, ["content": base64]}},
     ["erasure": base64(tlog-proof)], ["rotations": [{"entry", "index", "proof": [base64]}]]}

The contents of request and response are the caller's own bytes and are not repeated; that of `tokens` is.
A part without an opening can no longer be compared; then `erasure` must prove the record `content.erased`
that covers the call. `rotations` are all `log.key_rotated` below the checkpoint, oldest first.
`verify_receipt` checks, in this order:

1. The checkpoint satisfies the policy, after these rotations of the log's keys (`policy`, `rotation`).
2. The entry and the rotations are in the checkpoint's tree at the indices that they say (`merkle`).
3. The entry is the outcome of a call.
4. Every content at hand (the files given, and what the openings contain) matches its commitment in
   the record, and nothing is opened that the record does not commit to.
"""

from dataclasses import dataclass
from typing import Any, Self

from .errors import FormatError, NotVerified
from .merkle import HASH_SIZE, leaf_hash, verify_inclusion
from .note import Checkpoint, SignedNote
from .policy import Endorsement, TrustPolicy
from .record import OUTCOMES, PARTS, SALT_SIZE, Record, commit, parse, parse_canonical
from .strict import base64_bytes, decimal, utf8_lines

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF = 16 * 1024 * 1024
MAX_HASHES = 63
MATCHES = "matches"
NOT_COMPARED = "not compared"  # no file was given
NOT_OPENED = "not opened"  # the receipt has no salt for it: it was erased
MORE = {"erasure": str, "rotations": list}
Rotation = tuple[int, bytes, tuple[bytes, ...]]  # an entry with its index and its inclusion proof
ERASED = "erased"  # the state of all contents together, as are "verified" and NOT_COMPARED


@dataclass(frozen=True)
class TlogProof:
    """An index, an inclusion proof and the checkpoint it leads to; `extra` is authenticated by nothing."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a proof; the checkpoint is taken verbatim and read by `note`."""
        head, gap, checkpoint = utf8_lines(data, "tlog-proof", MAX_PROOF).partition("\n\n")
        lines = head.split("\n")
        if lines.pop(0) != HEADER or not gap:
            raise FormatError(f"tlog-proof: expected {HEADER}, a proof, an empty line and a checkpoint")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = base64_bytes(lines.pop(0).removeprefix("extra "), "tlog-proof extra")
        if not lines or not lines[0].startswith("index ") or len(lines) > 1 + MAX_HASHES:
            raise FormatError(f"tlog-proof: expected an `index` line and at most {MAX_HASHES} hashes")
        index = decimal(lines.pop(0).removeprefix("index "), "tlog-proof index")
        hashes = tuple(base64_bytes(line, "tlog-proof hash", HASH_SIZE) for line in lines)
        return cls(index, hashes, checkpoint, extra)


@dataclass(frozen=True)
class Opening:
    """What is needed, beside the content, to recompute a commitment."""

    salt: bytes
    content: bytes | None = None


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt for which every check has passed."""

    record: Record
    index: int
    endorsement: Endorsement
    parts: dict[str, str]  # part that the record commits to -> MATCHES, NOT_COMPARED or NOT_OPENED
    content: str = NOT_COMPARED  # "verified", NOT_COMPARED or ERASED


def verify_receipt(
    data: bytes | str, policy: TrustPolicy, request: bytes | None = None, response: bytes | None = None
) -> VerifiedReceipt:
    """Check a receipt, and the caller's own request and response bytes if given.

    Raises FormatError if `data` is not a receipt and NotVerified if a check fails.
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise FormatError("receipt: the proof has no `extra` line, so it does not say what it is about")
    entry, openings, erasure, rotations = parse_extra(proof.extra)
    origin = Checkpoint.parse(SignedNote.parse(proof.checkpoint).text).origin
    for index, rotation, _ in rotations:
        policy = policy.rotated(origin, parse(rotation), index)
    record, endorsement = _included(proof, entry, policy)
    for index, rotation, hashes in rotations:
        _included(TlogProof(index, hashes, proof.checkpoint), rotation, policy)
    if record["kind"] not in OUTCOMES:
        raise NotVerified("not_an_outcome", f"the entry is a {record['kind']}, not the outcome of a call")
    contents = {"request": request, "response": response}
    parts = {part: _compare(part, record.get(part), openings.get(part), contents.get(part)) for part in PARTS}
    found = {part: state for part, state in parts.items() if state}
    states = set(found.values())
    content = "verified" if states == {MATCHES} else NOT_COMPARED
    if NOT_OPENED in states:
        _check_erasure(erasure, record, policy)
        content = ERASED
    return VerifiedReceipt(record, proof.index, endorsement, found, content)


def _included(proof: TlogProof, entry: bytes, policy: TrustPolicy) -> tuple[Record, Endorsement]:
    """The record of an entry, after the signatures and the inclusion are checked."""
    note, record = SignedNote.parse(proof.checkpoint), parse(entry)
    endorsement = policy.check(note)
    checkpoint = endorsement.checkpoint
    verify_inclusion(proof.index, checkpoint.size, leaf_hash(entry), proof.hashes, checkpoint.root)
    return record, endorsement


def _check_erasure(erasure: bytes | None, call: Record, policy: TrustPolicy) -> None:
    """Contents may be missing only if the log says that they were erased."""
    reason = "content_missing_without_erasure"
    if erasure is None:
        raise NotVerified(reason, "the receipt has no salts, and no proof that the content was erased")
    proof = TlogProof.parse(erasure)
    record, _ = _included(proof, parse_extra(proof.extra or b"")[0], policy)
    covered, time = False, call["started" if "started" in call else "time"]
    match record:
        case {"kind": "content.erased", "calls": calls}:
            covered = call["call"] in calls
        case {"kind": "content.erased", **scope} if "projects" in scope or "before" in scope:
            by_project = "projects" not in scope or call.get("project") in scope["projects"]
            covered = by_project and time < scope.get("before", time + 1)
    if not covered:
        raise NotVerified(reason, "what the receipt gives as its erasure is not one that covers the call")


def _compare(part: str, commitment: str | None, opening: Opening | None, content: bytes | None) -> str:
    """Hold what is at hand of a part against the record's commitment; empty if there is neither."""
    if opening is None and content is None:
        return "" if commitment is None else NOT_OPENED
    if commitment is None:
        raise NotVerified(f"{part}_not_committed", f"the record does not commit to any {part}")
    if opening is None:
        raise NotVerified(f"{part}_not_opened", f"the receipt lacks the salt to check the {part} with")
    contents = [item for item in (content, opening.content) if item is not None]
    if any(commit(part, opening.salt, item) != commitment for item in contents):
        raise NotVerified(f"{part}_mismatch", f"the {part} is not the one that the record commits to")
    return MATCHES if contents else NOT_COMPARED


def parse_extra(data: bytes) -> tuple[bytes, dict[str, Opening], bytes | None, list[Rotation]]:
    """The entry, the openings, the erasure's proof and the rotations of a receipt's `extra`."""
    extra = parse_canonical(data)
    match extra:
        case {"entry": str(entry), "openings": dict(openings), **more} if all(
            type(value) is MORE.get(str(name)) for name, value in more.items()
        ):
            found = {part: _parse_opening(part, opening) for part, opening in openings.items()}
            erasure = base64_bytes(extra["erasure"], "receipt erasure") if "erasure" in more else None
            rotations = [_parse_rotation(item) for item in extra.get("rotations", [])]
            return base64_bytes(entry, "receipt entry"), found, erasure, rotations
    raise FormatError("receipt: its `extra` line must have an `entry`, `openings` and nothing unknown")


def _parse_rotation(rotation: Any) -> Rotation:
    match rotation:
        case {"entry": str(entry), "index": int(index), "proof": list(proof)} if len(rotation) == 3:
            hashes = [base64_bytes(str(value), "rotation proof", HASH_SIZE) for value in proof]
            return index, base64_bytes(entry, "rotation entry"), tuple(hashes)
    raise FormatError("receipt: a rotation is an `entry`, its `index` and its `proof`")


def _parse_opening(part: str, opening: Any) -> Opening:
    match opening:
        case {"salt": str(salt)} if part in PARTS and len(opening) == 1:
            return Opening(base64_bytes(salt, f"receipt {part} salt", SALT_SIZE))
        case {"salt": str(salt), "content": str(content)} if part in PARTS and len(opening) == 2:
            data = base64_bytes(content, f"receipt {part} content")
            return Opening(base64_bytes(salt, f"receipt {part} salt", SALT_SIZE), data)
    raise FormatError(f"receipt: an opening is of one of {PARTS}, with a `salt` and at most a `content`")
