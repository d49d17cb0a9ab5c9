"""Records: the entries of Regalia's log, and the commitments in them.

An entry is one JSON object in canonical form (RFC 8785) that holds integers below 2^53 and strings,
and arrays and objects of these; no fractions, booleans or null. Keys are ASCII. So a record has
exactly one spelling: what re-encodes to the same bytes has no duplicate keys, no extra spaces and
no second way of writing a number or a character.

The tables say which fields each kind must have and may have. Further fields are allowed, so that old
verifiers can read newer records. A record whose *meaning* changes gets another `v`; that, like an
unknown kind, is refused.
"""

import json
import re
from hashlib import sha256
from typing import Any, Final

from .errors import FormatError

MAX_RECORD: Final = 65535
MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 16
SALT_SIZE: Final = 32
PARTS: Final = ("request", "response", "tokens")
COMMITMENT_DOMAIN: Final = b"regalia/commitment/v1\x00"

Record = dict[str, Any]
Form = Any  # a pattern, a range of integers, str, [str], or an object: forms by their names

COUNT: Final = range(2**53)
HASH: Final = re.compile(r"[0-9a-f]{64}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|unknown")

_TEXTS = "kind build error isolation name origin reason route software"
FORMS: Final[dict[str, Form]] = {
    "v": range(1, 2),
    **dict.fromkeys(_TEXTS.split(), str),
    **dict.fromkeys(["before", "ended", "started", "time"], COUNT),  # milliseconds since the epoch
    **dict.fromkeys(["minimum", "status"], COUNT),
    **{name: [str] for name in ("calls", "finish", "keys", "projects", "root")},
    **dict.fromkeys(["request", "response", "tokens"], HASH),  # commitments
    "admitted": HASH,  # the leaf hash of the call's call.admitted
    "call": re.compile(r"call_[0-9a-hjkmnp-tv-z]{26}"),
    "digest": DIGEST,
    "engine": {"name": str, "build": str, "digest": DIGEST, "isolation": str},
    "model": {"name": str, "digest": DIGEST},
    "policy": {"version": str, "decision": str},
    "previous": {"origin": str, "size": COUNT, "root": HASH},  # where a log goes on that had to end
    "project": re.compile(r"[0-9a-f]{32}"),  # a pseudonym
    "sampling": {},
    "signatures": {"log": [str], "root": [str]},
    "stream": range(2),
    "usage": {"input": COUNT, "output": COUNT, "total": COUNT},
}
_COMMON = "v kind time"
NAMED: Final = {("call.admitted", "model"), ("engine.started", "engine"), ("engine.stopped", "engine")}  # str

_OUTCOME = "call admitted route project request status started ended"
_ANSWER = "response model engine sampling policy usage finish"
_FREE = "policy.activated content.read retention.applied"
_FREE += " hold.placed hold.lifted qualification.passed qualification.failed"

FIELDS: Final[dict[str, tuple[str, str]]] = {  # kind -> what it must have, what it may have
    "log.opened": ("origin software keys", "root previous"),
    "log.root_added": ("origin root", ""),
    "log.key_rotated": ("origin keys signatures", ""),
    "call.admitted": ("call route project model stream request", ""),
    "call.answered": (f"{_OUTCOME} {_ANSWER}", "tokens error"),
    **dict.fromkeys(["call.refused", "call.failed"], (f"{_OUTCOME} error", f"{_ANSWER} tokens")),
    "call.cancelled": (_OUTCOME, f"{_ANSWER} tokens error"),
    "call.aborted": ("call admitted reason", "route project request"),
    **dict.fromkeys(["model.registered", "model.retired"], ("name digest", "")),
    "engine.started": ("engine model build digest isolation", ""),
    "engine.stopped": ("engine reason", ""),
    "content.erased": ("", "calls projects before"),
    "admin.log_archived": ("", "minimum"),
    **dict.fromkeys(_FREE.split(), ("", "")),
}
ADMIN_KIND: Final = re.compile(r"admin\.[a-z][a-z0-9_.-]{0,62}")
OUTCOMES: Final = frozenset(kind for kind in FIELDS if kind.startswith("call.") and kind != "call.admitted")
_KINDS = {**FIELDS, "admin": ("", "")}
_REQUIRED: Final = {kind: frozenset(f"{_COMMON} {must}".split()) for kind, (must, _) in _KINDS.items()}
_FORMS: Final = {
    kind: {name: str if (kind, name) in NAMED else FORMS[name] for name in f"{_COMMON} {must} {may}".split()}
    for kind, (must, may) in _KINDS.items()
}


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
    _validate(record)
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
    if kind is str or (kind is int and -MAX_INTEGER <= value <= MAX_INTEGER):
        return
    if kind is int:
        raise FormatError("JSON: an integer is outside ±(2^53 - 1)")
    if kind is not dict and kind is not list:
        raise FormatError("JSON: fractions, booleans and null are not allowed")
    if depth == 0:
        raise FormatError(f"JSON: nested more than {MAX_DEPTH} deep")
    if kind is dict and not all(map(str.isascii, value)):
        raise FormatError("JSON: a key is not ASCII")
    for item in value.values() if kind is dict else value:
        if type(item) is not str:
            _check_plain(item, depth - 1)


def _validate(record: dict[str, Any]) -> None:
    kind = record.get("kind")
    if type(kind) is not str or (kind not in FIELDS and not ADMIN_KIND.fullmatch(kind)):
        raise FormatError(f"record: unknown kind {str(kind)[:60]!r}")
    known = kind if kind in FIELDS else "admin"
    if lacking := _REQUIRED[known] - record.keys():
        raise FormatError(f"record: {kind} lacks the field {min(lacking)!r}")
    for name, form in _FORMS[known].items():
        if name in record and not _fits(record[name], form):
            raise FormatError(f"record: {kind} has a malformed field {name!r}")


def _fits(value: Any, form: Form) -> bool:
    if form is str:
        return type(value) is str
    if type(form) is range:
        return type(value) is int and value in form
    if type(form) is list:
        return type(value) is list and all(type(item) is str for item in value)
    if type(form) is dict:
        return type(value) is dict and all(map(_fits, map(value.get, form), form.values()))
    return type(value) is str and form.fullmatch(value) is not None
