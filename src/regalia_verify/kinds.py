"""The kinds of records, and the fields that each must have and may have.

Further fields are allowed in every kind, so that old verifiers can read newer records. A record
whose *meaning* changes gets another `v`; that, like an unknown kind, is refused.
"""

import re
from typing import Any, Final

from .errors import FormatError

Form = Any  # a pattern, a range of integers, str, [str], or an object: forms by their names

COUNT: Final = range(2**53)
HASH: Final = re.compile(r"[0-9a-f]{64}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|unknown")

_TEXTS = "kind build error isolation name origin reason route software"
FORMS: Final[dict[str, Form]] = {
    "v": range(1, 2),
    **dict.fromkeys(_TEXTS.split(), str),
    **dict.fromkeys(["time", "started", "ended"], COUNT),  # milliseconds since the epoch
    **dict.fromkeys(["request", "response", "tokens"], HASH),  # commitments
    "admitted": HASH,  # the leaf hash of the call's call.admitted
    "call": re.compile(r"call_[0-9a-hjkmnp-tv-z]{26}"),
    "digest": DIGEST,
    "engine": {"name": str, "build": str, "digest": DIGEST, "isolation": str},
    "finish": [str],
    "keys": [str],
    "model": {"name": str, "digest": DIGEST},
    "policy": {"version": str, "decision": str},
    "project": re.compile(r"[0-9a-f]{32}"),  # a pseudonym
    "sampling": {},
    "status": COUNT,
    "stream": range(2),
    "usage": {"input": COUNT, "output": COUNT, "total": COUNT},
}
_COMMON = "v kind time"
NAMED: Final = {("call.admitted", "model"), ("engine.started", "engine"), ("engine.stopped", "engine")}  # str

_OUTCOME = "call admitted route project request status started ended"
_ANSWER = "response model engine sampling policy usage finish"
_FREE = "log.key_rotated policy.activated content.read content.erased retention.applied"
_FREE += " hold.placed hold.lifted qualification.passed qualification.failed"

FIELDS: Final[dict[str, tuple[str, str]]] = {  # kind -> what it must have, what it may have
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
    **dict.fromkeys(_FREE.split(), ("", "")),
}
ADMIN_KIND: Final = re.compile(r"admin\.[a-z][a-z0-9_.-]{0,62}")
OUTCOMES: Final = frozenset(kind for kind in FIELDS if kind.startswith("call.") and kind != "call.admitted")
_SCHEMAS: Final = {  # kind -> names of the fields it must have, forms of all that are known
    kind: (
        frozenset(f"{_COMMON} {must}".split()),
        {name: str if (kind, name) in NAMED else FORMS[name] for name in f"{_COMMON} {must} {may}".split()},
    )
    for kind, (must, may) in {**FIELDS, "admin": ("", "")}.items()
}


def validate(record: dict[str, Any]) -> None:
    """Check that a record has the fields its kind demands, each of the right form; else FormatError."""
    kind = record.get("kind")
    if type(kind) is not str or (kind not in FIELDS and not ADMIN_KIND.fullmatch(kind)):
        raise FormatError(f"record: unknown kind {str(kind)[:60]!r}")
    required, forms = _SCHEMAS.get(kind, _SCHEMAS["admin"])
    if not required <= record.keys():
        raise FormatError(f"record: {kind} lacks the field {min(required - record.keys())!r}")
    for name, form in forms.items():
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
