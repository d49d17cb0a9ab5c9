"""Receipts: the proof that one call's outcome is in the log, and what opens its commitments.

A receipt is a tlog-proof whose `extra` is the canonical JSON of

    {"entry": base64(record), "openings": {part: {"salt": base64, ["content": base64]}}}

`entry` is the log entry that the proof is about. `openings` has the salts of the parts that the
record commits to; the contents of request and response are the caller's own bytes and are not
repeated, that of `tokens` is included. A part without an opening (erased, or not the caller's) can
no longer be compared; everything else still holds.

What `verify_receipt` checks, in this order:

1. The checkpoint satisfies the policy (`policy`).
2. The entry is in the checkpoint's tree at the index that the proof says (`merkle`).
3. The entry is the outcome of a call.
4. Every content that is at hand (the files given, and what the openings contain) matches the
   commitment in the record, and nothing is opened that the record does not commit to.
"""

from dataclasses import dataclass
from typing import Any, Self

from .errors import FormatError, NotVerified
from .kinds import OUTCOMES
from .merkle import leaf_hash, verify_inclusion
from .note import SignedNote
from .policy import Endorsement, TrustPolicy
from .proof import TlogProof
from .record import PARTS, SALT_SIZE, Record, canonical, commit, parse, parse_canonical
from .strict import base64_bytes, base64_text


@dataclass(frozen=True)
class Opening:
    """What is needed, beside the content, to recompute a commitment."""

    salt: bytes
    content: bytes | None = None


@dataclass(frozen=True)
class Receipt:
    """A receipt that has been read and not yet verified."""

    proof: TlogProof
    entry: bytes
    note: SignedNote
    record: Record
    openings: dict[str, Opening]

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a receipt; raise FormatError if it is not one."""
        proof = TlogProof.parse(data)
        if proof.extra is None:
            raise FormatError(
                "receipt: the proof has no `extra` line, so it does not say which entry it is about"
            )
        entry, openings = parse_extra(proof.extra)
        return cls(proof, entry, SignedNote.parse(proof.checkpoint), parse(entry), openings)


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt for which every check has passed."""

    record: Record
    index: int
    endorsement: Endorsement
    parts: dict[str, str]  # part that the record commits to -> MATCHES, NOT_COMPARED or NOT_OPENED


MATCHES = "matches"
NOT_COMPARED = "not compared"  # no file was given
NOT_OPENED = "not opened"  # the receipt has no salt for it: erased, or not the caller's to see


def verify_receipt(
    data: bytes | str, policy: TrustPolicy, request: bytes | None = None, response: bytes | None = None
) -> VerifiedReceipt:
    """Check a receipt, and the caller's own request and response bytes if given.

    Raises FormatError if `data` is not a receipt and NotVerified if a check fails.
    """
    receipt = Receipt.parse(data)
    endorsement = policy.check(receipt.note)
    checkpoint, index = endorsement.checkpoint, receipt.proof.index
    verify_inclusion(index, checkpoint.size, leaf_hash(receipt.entry), receipt.proof.hashes, checkpoint.root)
    if receipt.record["kind"] not in OUTCOMES:
        raise NotVerified(
            "not_an_outcome", f"the entry is a {receipt.record['kind']}, not the outcome of a call"
        )
    files = {"request": request, "response": response}
    parts = {part: _compare(part, receipt, files.get(part)) for part in PARTS}
    return VerifiedReceipt(
        receipt.record, index, endorsement, {part: found for part, found in parts.items() if found}
    )


def _compare(part: str, receipt: Receipt, content: bytes | None) -> str:
    """Hold what is at hand of a part against the record's commitment; empty if there is neither."""
    commitment = receipt.record.get(part)
    opening = receipt.openings.get(part)
    if commitment is None:
        if opening is not None or content is not None:
            raise NotVerified(f"{part}_not_committed", f"the record does not commit to any {part}")
        return ""
    if opening is None:
        if content is not None:
            raise NotVerified(
                f"{part}_not_opened", f"the receipt lacks the salt that the {part} is checked with"
            )
        return NOT_OPENED
    contents = [item for item in (content, opening.content) if item is not None]
    if any(commit(part, opening.salt, item) != commitment for item in contents):
        raise NotVerified(f"{part}_mismatch", f"the {part} is not the one that the record commits to")
    return MATCHES if contents else NOT_COMPARED


def encode_extra(entry: bytes, openings: dict[str, Opening]) -> bytes:
    """The `extra` of a receipt."""
    parts = {}
    for part, opening in openings.items():
        parts[part] = {"salt": base64_text(opening.salt)}
        if opening.content is not None:
            parts[part]["content"] = base64_text(opening.content)
    return canonical({"entry": base64_text(entry), "openings": parts})


def parse_extra(data: bytes) -> tuple[bytes, dict[str, Opening]]:
    """The entry and the openings of a receipt's `extra`."""
    extra = _object(parse_canonical(data), "extra", {"entry", "openings"})
    entry = base64_bytes(_text(extra, "entry"), "receipt entry")
    openings = {}
    for part, value in _object(extra.get("openings"), "openings", set(PARTS)).items():
        opening = _object(value, part, {"salt", "content"})
        salt = base64_bytes(_text(opening, "salt"), f"receipt {part} salt", SALT_SIZE)
        content = None
        if "content" in opening:
            content = base64_bytes(_text(opening, "content"), f"receipt {part} content")
        openings[part] = Opening(salt, content)
    return entry, openings


def _object(value: Any, what: str, allowed: set[str]) -> dict[str, Any]:
    if type(value) is not dict or not value.keys() <= allowed:
        raise FormatError(f"receipt: {what} must be an object with only {sorted(allowed)}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str:
        raise FormatError(f"receipt: {name} must be a string")
    return value
