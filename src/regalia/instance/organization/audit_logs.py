"""Audit logs: the log's records of what was administered, the newest first.

They are read from the log itself, a piece at a time, off the event loop: some thousands of entries, some
megabytes and a second a request at most; `has_more` and `last_id` lead on. Everything in a record is a
pseudonym; the actor's is resolved, because whoever may read records may.
"""

import operator
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from regalia.errors import ApiError
from regalia.identity import Principal, Pseudonyms, permits, require_at
from regalia.instance.organization.listing import LENGTH, home, served
from regalia.instance.tenancy.paging import Asked, limit_of, listed
from regalia.instance.tenancy.tenancy import Tenancy

MOST_ENTRIES = 16_384
MOST_BYTES = 32 * 1024 * 1024
LONGEST_S = 1.0
PIECE = 512
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
def _audit_logs(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    within = home(at, actor).id
    require_at(actor, "records.read", within)
    limit = limit_of(asked, LENGTH)
    everything = permits(actor, "records.read", "")
    names = Pseudonyms(at.secret)
    wanted = {text for text in asked.get("event_types", "").split(",") if text}
    bounds = [(test, _number(name, asked[name])) for name, test in _BOUNDS.items() if asked.get(name)]
    found: list[dict[str, Any]] = []
    lowest = 0
    for index, entry in _newest_first(at, _before(asked.get("after", ""))):
        lowest = index
        record = _decode(entry)
        if not _told(record) or (wanted and record["kind"] not in wanted):
            continue
        if not all(test(record["time"] // 1000, bound) for test, bound in bounds):
            continue
        if everything or record.get("organisation") == names.of(f"organisation:{within}", record["time"]):
            found.append(_event(at, index, record))
            if len(found) > limit:
                break
    answer = listed(found, limit, more=lowest > 0)
    if not found and lowest > 0:
        answer["last_id"] = f"{_PREFIX}{lowest}"
    return answer


def _newest_first(at: Tenancy, before: int | None) -> Iterator[tuple[int, bytes]]:
    """Entries below an index, with theirs, as many as one request looks at. Raises ApiError 503."""
    if at.entries is None:
        raise ApiError(503, "log_unavailable", "The log can't be read here.")
    until = time.monotonic() + LONGEST_S
    size = count = 0
    while count < MOST_ENTRIES and size < MOST_BYTES and (count == 0 or time.monotonic() < until):
        piece = at.entries(before, PIECE)
        if not piece:
            return
        yield from piece
        before = piece[-1][0]
        count += len(piece)
        size += sum(len(entry) for _, entry in piece)


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


def _event(at: Tenancy, index: int, record: dict[str, Any]) -> dict[str, Any]:
    kind = record["kind"]
    details = {name: value for name, value in record.items() if name not in ("v", "kind", "time", "by")}
    return {
        "id": f"{_PREFIX}{index}",
        "type": kind,
        "effective_at": record["time"] // 1000,
        "actor": _actor(at, record.get("by", "")),
        kind: details,
    }


def _actor(at: Tenancy, pseudonym: str) -> dict[str, Any] | None:
    """Who is behind the pseudonym of an actor."""
    if not pseudonym:
        return None
    actor = at.actors.of(pseudonym, at.tenants.users, at.tenants.keys)
    kind, _, ident = (actor or "").partition(":")
    if kind == "user":
        told = {"id": ident, "email": at.tenants.users[ident].email}
        return {"type": "session", "session": {"user": told}}
    if kind == "key":
        account = "user" if at.tenants.keys[ident].user else "service_account"
        return {"type": "api_key", "api_key": {"id": ident, "type": account}}
    return {"type": "pseudonym", "pseudonym": pseudonym}
