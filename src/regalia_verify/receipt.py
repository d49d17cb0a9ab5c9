"""Receipts: the proof that one call's outcome is in the log, and what opens its commitments.

A receipt is a tlog-proof whose `extra` is the canonical JSON of

    {"entry": base64(record), "openings": {part: {"salt": base64, ["content": base64]}}}

`entry` is the log entry that the proof is about. `openings` has the salts of the parts that the
record commits to; the contents of request and response are the caller's own bytes and are not
repeated, that of `tokens` is included. A part without an opening (erased, or not the caller's) can
no longer be compared; everything else still holds.
"""

from dataclasses import dataclass
from typing import Any, Self

from .errors import FormatError
from .proof import TlogProof
from .record import PARTS, SALT_SIZE, Record, canonical, parse, parse_canonical
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
        return cls(proof, entry, parse(entry), openings)


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
