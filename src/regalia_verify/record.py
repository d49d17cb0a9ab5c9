"""Records: the entries of Regalia's log, and the commitments in them.

An entry is one JSON object in canonical form (RFC 8785) that holds integers below 2^53 and strings,
and arrays and objects of these; no fractions, booleans or null. Keys are ASCII. So a record has
exactly one spelling: what re-encodes to the same bytes has no duplicate keys, no extra spaces and
no second way of writing a number or a character. Which fields a record has is in `kinds`.
"""

import json
from hashlib import sha256
from typing import Any, Final

from .errors import FormatError
from .kinds import validate

MAX_RECORD: Final = 65535
MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 16
SALT_SIZE: Final = 32
PARTS: Final = ("request", "response", "tokens")
COMMITMENT_DOMAIN: Final = b"regalia/commitment/v1\x00"

Record = dict[str, Any]


def commit(part: str, salt: bytes, content: bytes) -> str:
    """The commitment to one part of a call: it binds the content and, without the salt, hides it."""
    if part not in PARTS or len(salt) != SALT_SIZE:
        raise ValueError(f"a commitment needs a part of {PARTS} and a salt of {SALT_SIZE} bytes")
    length = len(content).to_bytes(8, "big")
    return sha256(COMMITMENT_DOMAIN + part.encode() + b"\x00" + salt + length + content).hexdigest()


def parse(data: bytes) -> Record:
    """Read one log entry; raise FormatError if it is not a well-formed record of a known kind."""
    if len(data) > MAX_RECORD:
        raise FormatError(f"record: longer than {MAX_RECORD} bytes")
    record = parse_canonical(data)
    if type(record) is not dict:
        raise FormatError("record: not a JSON object")
    validate(record)
    return record


def parse_canonical(data: bytes) -> Any:
    """Read JSON that must be canonical and plain; raise FormatError otherwise."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:  # UnicodeError and JSONDecodeError are ValueErrors
        raise FormatError(f"JSON: {str(error)[:200]}") from error
    if canonical(value) != data:
        raise FormatError("JSON: not in canonical form (RFC 8785)")
    return value


def canonical(value: Any) -> bytes:
    """The canonical JSON of plain values; raise FormatError for anything that is not plain."""
    _check_plain(value, MAX_DEPTH)
    try:
        return _encode(value).encode()
    except UnicodeEncodeError as error:
        raise FormatError("JSON: a string is not valid Unicode") from error


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _check_plain(value: Any, depth: int) -> None:
    """Refuse what the record format does not have. Keys are ASCII, so every sort order is the same."""
    kind = type(value)
    if kind is str:
        return
    if kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise FormatError("JSON: an integer is outside ±(2^53 - 1)")
        return
    if kind is not dict and kind is not list:
        raise FormatError("JSON: fractions, booleans and null are not allowed")
    if depth == 0:
        raise FormatError(f"JSON: nested more than {MAX_DEPTH} deep")
    if kind is dict and not all(map(str.isascii, value)):
        raise FormatError("JSON: a key is not ASCII")
    for item in value.values() if kind is dict else value:
        if type(item) is not str:
            _check_plain(item, depth - 1)
