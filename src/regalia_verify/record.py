"""Records: the entries of Regalia's log, and the commitments in them.

An entry is one JSON object in canonical form (RFC 8785) that holds integers below 2^53 and strings,
and arrays and objects of these; no fractions, booleans or null. Keys are ASCII. So a record has
exactly one spelling: what re-encodes to the same bytes has no duplicate keys, no extra spaces and
no second way of writing a number or a character.

Each kind has fields that it must have and fields that it may have. Further fields are allowed as
long as they are plain, so that old verifiers can read newer records; a record whose *meaning*
changes gets another `v`, and that, like an unknown kind, is refused.
"""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NoReturn

from .errors import FormatError

MAX_RECORD: Final = 65535
MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 16
SALT_SIZE: Final = 32
PARTS: Final = ("request", "response", "tokens")
COMMITMENT_DOMAIN: Final = b"regalia/commitment/v1\x00"

Record = dict[str, Any]
Check = Callable[[Any], bool]


def commit(part: str, salt: bytes, content: bytes) -> str:
    """The commitment to one part of a call: it binds the content and, without the salt, hides it."""
    if part not in PARTS or len(salt) != SALT_SIZE:
        raise ValueError(f"a commitment needs a part of {PARTS} and a salt of {SALT_SIZE} bytes")
    length = len(content).to_bytes(8, "big")
    return sha256(COMMITMENT_DOMAIN + part.encode() + b"\x00" + salt + length + content).hexdigest()


def canonical(value: Any) -> bytes:
    """The canonical JSON of plain values; raise FormatError for anything that is not plain."""
    _check_plain(value, MAX_DEPTH)
    try:
        return _encode(value)
    except UnicodeEncodeError as error:
        raise FormatError("JSON: a string is not valid Unicode") from error


def parse_canonical(data: bytes) -> Any:
    """Read JSON that must be canonical and plain; raise FormatError otherwise."""
    try:
        value = _decode(data.decode("utf-8"))
        same = _encode(value) == data
    except (ValueError, RecursionError) as error:  # UnicodeError and JSONDecodeError are ValueErrors
        raise FormatError(f"JSON: {str(error)[:200]}") from error
    if not same:
        raise FormatError("JSON: not in canonical form (RFC 8785)")
    _check_plain(value, MAX_DEPTH)
    return value


def parse(data: bytes) -> Record:
    """Read one log entry; raise FormatError if it is not a well-formed record of a known kind."""
    if len(data) > MAX_RECORD:
        raise FormatError(f"record: longer than {MAX_RECORD} bytes")
    record = parse_canonical(data)
    if type(record) is not dict:
        raise FormatError("record: not a JSON object")
    validate(record)
    return record


def validate(record: Record) -> None:
    """Check that a plain record has the fields that its kind demands, each of the right form."""
    kind = record.get("kind")
    fields = KINDS.get(kind) if type(kind) is str else None
    if fields is None:
        if type(kind) is not str or not ADMIN_KIND.fullmatch(kind):
            raise FormatError(f"record: unknown kind {str(kind)[:60]!r}")
        fields = COMMON
    for name, (check, required) in fields.items():
        value = record.get(name)
        if value is None:
            if required:
                raise FormatError(f"record: {kind} has no field {name!r}")
        elif not check(value):
            raise FormatError(f"record: {kind} has a malformed field {name!r}")


# What a field must look like. `type(x) is int` because True is an int to isinstance.


def _integer(value: Any) -> bool:
    return type(value) is int and value >= 0


def _string(value: Any) -> bool:
    return type(value) is str


def _strings(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _object(value: Any) -> bool:
    return type(value) is dict


def _version(value: Any) -> bool:
    return type(value) is int and value == 1


def _flag(value: Any) -> bool:
    return type(value) is int and value in {0, 1}


def _matches(pattern: str) -> Check:
    match = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _objects_with(**fields: Check) -> Check:
    checks = tuple(fields.items())
    return lambda value: (
        type(value) is dict and all(name in value and check(value[name]) for name, check in checks)
    )


ADMIN_KIND: Final = re.compile(r"admin\.[a-z][a-z0-9_.-]{0,62}")
_pseudonym = _matches(r"[0-9a-f]{32}")
_hash = _matches(r"[0-9a-f]{64}")
_digest = _matches(r"sha256:[0-9a-f]{64}|unknown")
_call = _matches(r"call_[0-9a-hjkmnp-tv-z]{26}")
_model = _objects_with(name=_string, digest=_digest)
_engine = _objects_with(name=_string, build=_string, digest=_digest, isolation=_string)
_policy = _objects_with(version=_string, decision=_string)
_usage = _objects_with(input=_integer, output=_integer, total=_integer)

Fields = dict[str, tuple[Check, bool]]


def _kind(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Fields:
    fields = {name: (check, True) for name, check in required.items()}
    return COMMON | fields | {name: (check, False) for name, check in (optional or {}).items()}


COMMON: Final[Fields] = {"v": (_version, True), "kind": (_string, True), "time": (_integer, True)}
_OUTCOME: Final[dict[str, Check]] = {
    "call": _call,
    "admitted": _hash,
    "route": _string,
    "project": _pseudonym,
    "request": _hash,
    "status": _integer,
    "started": _integer,
    "ended": _integer,
}
_ANSWER: Final[dict[str, Check]] = {
    "response": _hash,
    "model": _model,
    "engine": _engine,
    "sampling": _object,
    "policy": _policy,
    "usage": _usage,
    "finish": _strings,
}
_REST: Final[dict[str, Check]] = {"tokens": _hash, "error": _string}

KINDS: Final[dict[str, Fields]] = {
    "log.opened": _kind({"origin": _string, "software": _string, "keys": _strings}),
    "call.admitted": _kind({
        "call": _call, "route": _string, "project": _pseudonym,
        "model": _string, "stream": _flag, "request": _hash,
    }),
    "call.answered": _kind(_OUTCOME | _ANSWER, _REST),
    "call.refused": _kind(_OUTCOME | {"error": _string}, _ANSWER | _REST),
    "call.failed": _kind(_OUTCOME | {"error": _string}, _ANSWER | _REST),
    "call.cancelled": _kind(_OUTCOME, _ANSWER | _REST),
    "call.aborted": _kind({"call": _call, "admitted": _hash, "reason": _string}),
    "model.registered": _kind({"name": _string, "digest": _digest}),
    "model.retired": _kind({"name": _string, "digest": _digest}),
    "engine.started": _kind({
        "engine": _string, "model": _model, "build": _string, "digest": _digest, "isolation": _string,
    }),
    "engine.stopped": _kind({"engine": _string, "reason": _string}),
    **dict.fromkeys(
        [
            "log.key_rotated", "policy.activated", "content.read", "content.erased", "retention.applied",
            "hold.placed", "hold.lifted", "qualification.passed", "qualification.failed",
        ],
        COMMON,
    ),
}  # fmt: skip
OUTCOMES: Final = frozenset({
    "call.answered", "call.refused", "call.failed", "call.cancelled", "call.aborted",
})  # fmt: skip


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:40]} is not an integer")


_decode = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number).decode
_encode_text = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def _encode(value: Any) -> bytes:
    return _encode_text(value).encode("utf-8")


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
        raise FormatError(
            "JSON: fractions, booleans and null are not allowed; write them as strings or integers"
        )
    if depth == 0:
        raise FormatError(f"JSON: nested more than {MAX_DEPTH} deep")
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                raise FormatError("JSON: a key is not ASCII text")
    for item in value.values() if kind is dict else value:
        if type(item) is not str:
            _check_plain(item, depth - 1)
