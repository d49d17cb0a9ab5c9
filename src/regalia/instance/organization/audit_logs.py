"""Audit logs: the log's records of what was administered, the newest first.

They are read from the log itself, some thousands of entries a request at most; `has_more` and `last_id` lead
on. Everything in a record is a pseudonym; the actor's is resolved, because whoever may read records may.
"""

import operator
from typing import Any

import msgspec

from regalia.errors import ApiError
from regalia.identity import Principal, Pseudonyms, permits, require_at
from regalia.instance.organization.listing import home, limit_of, listed, served
from regalia.instance.tenancy.operations import Asked
from regalia.instance.tenancy.tenancy import Tenancy

_SCANNED = 16_384
_PREFIX = "audit_log-"
_BOUNDS = {
    "effective_at[gt]": operator.gt,
    "effective_at[gte]": operator.ge,
    "effective_at[lt]": operator.lt,
    "effective_at[lte]": operator.le,
}
_QUERY = ("limit", "after", "event_types", *_BOUNDS)
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@served("GET", "/audit_logs", "List what was administered", query=_QUERY)
async def _audit_logs(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    within = home(at, actor).id
    require_at(actor, "records.read", within)
    if at.entries is None:
        raise ApiError(503, "log_unavailable", "The log can't be read here.")
    limit = limit_of(asked)
    everything = permits(actor, "records.read", "")
    names, actors = Pseudonyms(at.secret), _Actors(at)
    wanted = {text for text in asked.get("event_types", "").split(",") if text}
    bounds = [(test, _number(name, asked[name])) for name, test in _BOUNDS.items() if asked.get(name)]
    found: list[dict[str, Any]] = []
    lowest = 0
    for index, entry in await at.entries(_before(asked.get("after", "")), _SCANNED):
        lowest = index
        record = _decode(entry)
        if not _told(record) or (wanted and record["kind"] not in wanted):
            continue
        if not all(test(record["time"] // 1000, bound) for test, bound in bounds):
            continue
        if everything or record.get("organisation") == names.of(f"organisation:{within}", record["time"]):
            found.append(_event(index, record, actors))
            if len(found) > limit:
                break
    answer = listed(found, limit, more=lowest > 0)
    if not found and lowest > 0:
        answer["last_id"] = f"{_PREFIX}{lowest}"
    return answer


def _before(after: str) -> int | None:
    """The index that the page ends before; None for the log's end. Raises ApiError 400."""
    if not after:
        return None
    return _number("after", after.removeprefix(_PREFIX))


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ApiError(400, "invalid_value", f"`{name}` can't be {text[:40]!r}.", param=name)
    return int(text)


def _told(record: dict[str, Any]) -> bool:
    """Everything but calls and the engines' coming and going."""
    return not record["kind"].startswith(("call.", "engine."))


def _event(index: int, record: dict[str, Any], actors: "_Actors") -> dict[str, Any]:
    kind = record["kind"]
    details = {name: value for name, value in record.items() if name not in ("v", "kind", "time", "by")}
    return {
        "id": f"{_PREFIX}{index}",
        "type": kind,
        "effective_at": record["time"] // 1000,
        "actor": actors.of(record.get("by", "")),
        kind: details,
    }


class _Actors:
    """Who is behind the pseudonyms of actors."""

    def __init__(self, at: Tenancy) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        for user in at.tenants.users.values():
            told = {"id": user.id, "email": user.email}
            self._known[at.who(f"user:{user.id}")] = {"type": "session", "session": {"user": told}}
        for key in at.tenants.keys.values():
            told = {"id": key.id, "type": "user" if key.user else "service_account"}
            self._known[at.who(f"key:{key.id}")] = {"type": "api_key", "api_key": told}

    def of(self, pseudonym: str) -> dict[str, Any] | None:
        if not pseudonym:
            return None
        return self._known.get(pseudonym, {"type": "pseudonym", "pseudonym": pseudonym})
