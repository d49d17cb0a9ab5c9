"""Receipts: the proof that one call's outcome is in the log, and what opens its commitments.

A receipt is a tlog-proof whose `extra` is the canonical JSON of

    {"entry": base64(record), "openings": {part: {"salt": base64, ["content": base64]}},
     ["erasure": base64(tlog-proof)]}

The contents of request and response are the caller's own bytes and are not repeated; that of
`tokens` is. A part without an opening can no longer be compared; then `erasure` must prove the record
`content.erased` that covers the call. `verify_receipt` checks, in this order:

1. The checkpoint satisfies the policy (`policy`).
2. The entry is in the checkpoint's tree at the index that the proof says (`merkle`).
3. The entry is the outcome of a call.
4. Every content at hand (the files given, and what the openings contain) matches its commitment in
   the record, and nothing is opened that the record does not commit to.
"""

from dataclasses import dataclass
from typing import Any

from .errors import FormatError, NotVerified
from .merkle import leaf_hash, verify_inclusion
from .note import SignedNote
from .policy import Endorsement, TrustPolicy
from .proof import TlogProof
from .record import OUTCOMES, PARTS, SALT_SIZE, Record, canonical, commit, parse, parse_canonical
from .strict import base64_bytes, base64_text

MATCHES = "matches"
NOT_COMPARED = "not compared"  # no file was given
NOT_OPENED = "not opened"  # the receipt has no salt for it: it was erased
ERASED = "erased"  # the state of all contents together, as are "verified" and NOT_COMPARED


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
    entry, openings, erasure = parse_extra(proof.extra)
    record, endorsement = _included(proof, entry, policy)
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
    match record:
        case {"kind": "content.erased", "calls": list(calls)}:
            covered = call["call"] in calls
        case {"kind": "content.erased", "projects": list(projects)}:
            covered = call.get("project") in projects
        case {"kind": "content.erased", "before": int(before)}:
            covered = call["started" if "started" in call else "time"] < before
        case _:
            covered = False
    if not covered:
        raise NotVerified(reason, "what the receipt gives as its erasure is not one that covers the call")


def _compare(part: str, commitment: str | None, opening: Opening | None, content: bytes | None) -> str:
    """Hold what is at hand of a part against the record's commitment; empty if there is neither."""
    if commitment is None:
        if opening is None and content is None:
            return ""
        raise NotVerified(f"{part}_not_committed", f"the record does not commit to any {part}")
    if opening is None:
        if content is None:
            return NOT_OPENED
        raise NotVerified(f"{part}_not_opened", f"the receipt lacks the salt to check the {part} with")
    contents = [item for item in (content, opening.content) if item is not None]
    if any(commit(part, opening.salt, item) != commitment for item in contents):
        raise NotVerified(f"{part}_mismatch", f"the {part} is not the one that the record commits to")
    return MATCHES if contents else NOT_COMPARED


def encode_extra(entry: bytes, openings: dict[str, Opening], erasure: str | None = None) -> bytes:
    """The `extra` of a receipt."""
    parts = {}
    for part, opening in openings.items():
        parts[part] = {"salt": base64_text(opening.salt)}
        if opening.content is not None:
            parts[part]["content"] = base64_text(opening.content)
    more = {"erasure": base64_text(erasure.encode())} if erasure else {}
    return canonical({"entry": base64_text(entry), "openings": parts, **more})


def parse_extra(data: bytes) -> tuple[bytes, dict[str, Opening], bytes | None]:
    """The entry, the openings and the erasure's proof of a receipt's `extra`."""
    match parse_canonical(data):
        case {"entry": str(entry), "openings": dict(openings), **more} if more.keys() <= {"erasure"}:
            found = {part: _parse_opening(part, opening) for part, opening in openings.items()}
            erasure = base64_bytes(str(more["erasure"]), "receipt erasure") if more else None
            return base64_bytes(entry, "receipt entry"), found, erasure
    raise FormatError("receipt: its `extra` line must have an `entry`, `openings` and nothing else")


def _parse_opening(part: str, opening: Any) -> Opening:
    match opening:
        case {"salt": str(salt)} if part in PARTS and len(opening) == 1:
            return Opening(base64_bytes(salt, f"receipt {part} salt", SALT_SIZE))
        case {"salt": str(salt), "content": str(content)} if part in PARTS and len(opening) == 2:
            data = base64_bytes(content, f"receipt {part} content")
            return Opening(base64_bytes(salt, f"receipt {part} salt", SALT_SIZE), data)
    raise FormatError(f"receipt: an opening is of one of {PARTS}, with a `salt` and at most a `content`")
