"""The kinds of records, and the fields that each must have and may have.

Further fields are allowed in every kind, so that old verifiers can read newer records. A record
whose *meaning* changes gets another `v`; that, like an unknown kind, is refused.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from .errors import FormatError

Check = Callable[[Any], bool]


def _matches(pattern: str) -> Check:
    match = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _string(value: Any) -> bool:
    return type(value) is str


def _strings(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _object(**fields: Check) -> Check:
    checks = tuple(fields.items())

    def check(value: Any) -> bool:
        return type(value) is dict and all(name in value and form(value[name]) for name, form in checks)

    return check


_digest = _matches(r"sha256:[0-9a-f]{64}|unknown")
_hash = _matches(r"[0-9a-f]{64}")

COMMON: Final[dict[str, Check]] = {
    "v": lambda value: type(value) is int and value == 1,
    "kind": _string,
    "time": _count,
}

FORMS: Final[dict[str, Check]] = COMMON | {
    "admitted": _hash,  # the leaf hash of the call's call.admitted
    "build": _string,
    "call": _matches(r"call_[0-9a-hjkmnp-tv-z]{26}"),
    "digest": _digest,
    "ended": _count,  # milliseconds since the epoch, like `time` and `started`
    "engine": _object(name=_string, build=_string, digest=_digest, isolation=_string),
    "error": _string,
    "finish": _strings,
    "isolation": _string,
    "keys": _strings,
    "model": _object(name=_string, digest=_digest),
    "name": _string,
    "origin": _string,
    "policy": _object(version=_string, decision=_string),
    "project": _matches(r"[0-9a-f]{32}"),  # a pseudonym
    "reason": _string,
    "request": _hash,  # this and the next two: commitments
    "response": _hash,
    "tokens": _hash,
    "route": _string,
    "sampling": _object(),
    "software": _string,
    "started": _count,
    "status": _count,
    "stream": lambda value: type(value) is int and value in {0, 1},
    "usage": _object(input=_count, output=_count, total=_count),
}

_OUTCOME = "call admitted route project request status started ended"
_ANSWER = "response model engine sampling policy usage finish"

FIELDS: Final[dict[str, tuple[str, str]]] = {  # kind -> fields it must have, fields it may have
    "log.opened": ("origin software keys", ""),
    "call.admitted": ("call route project model stream request", ""),
    "call.answered": (f"{_OUTCOME} {_ANSWER}", "tokens error"),
    "call.refused": (f"{_OUTCOME} error", f"{_ANSWER} tokens"),
    "call.failed": (f"{_OUTCOME} error", f"{_ANSWER} tokens"),
    "call.cancelled": (_OUTCOME, f"{_ANSWER} tokens error"),
    "call.aborted": ("call admitted reason", "route project request"),
    "model.registered": ("name digest", ""),
    "model.retired": ("name digest", ""),
    "engine.started": ("engine model build digest isolation", ""),
    "engine.stopped": ("engine reason", ""),
    "log.key_rotated": ("", ""),
    "policy.activated": ("", ""),
    "content.read": ("", ""),
    "content.erased": ("", ""),
    "retention.applied": ("", ""),
    "hold.placed": ("", ""),
    "hold.lifted": ("", ""),
    "qualification.passed": ("", ""),
    "qualification.failed": ("", ""),
}
ADMIN_KIND: Final = re.compile(r"admin\.[a-z][a-z0-9_.-]{0,62}")
OUTCOMES: Final = frozenset(kind for kind in FIELDS if kind.startswith("call.") and kind != "call.admitted")
_NAMES: Final[dict[tuple[str, str], Check]] = {  # where a field is a name instead of an object
    ("call.admitted", "model"): _string,
    ("engine.started", "engine"): _string,
    ("engine.stopped", "engine"): _string,
}


def _schema(kind: str, required: str, optional: str) -> tuple[frozenset[str], tuple[tuple[str, Check], ...]]:
    must = frozenset([*COMMON, *required.split()])
    return must, tuple((name, _NAMES.get((kind, name), FORMS[name])) for name in (*must, *optional.split()))


_SCHEMAS: Final = {kind: _schema(kind, *fields) for kind, fields in FIELDS.items()}
_ADMIN: Final = _schema("admin", "", "")


def validate(record: dict[str, Any]) -> None:
    """Check that a record has the fields its kind demands, each of the right form; else FormatError."""
    kind = record.get("kind")
    schema = _SCHEMAS.get(kind) if type(kind) is str else None
    if schema is None:
        if type(kind) is not str or not ADMIN_KIND.fullmatch(kind):
            raise FormatError(f"record: unknown kind {str(kind)[:60]!r}")
        schema = _ADMIN
    required, forms = schema
    if not required <= record.keys():
        raise FormatError(f"record: {kind} lacks the field {min(required - record.keys())!r}")
    for name, form in forms:
        if name in record and not form(record[name]):
            raise FormatError(f"record: {kind} has a malformed field {name!r}")
