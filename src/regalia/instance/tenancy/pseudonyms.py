"""Who is behind a pseudonym in the log: for those who read records, and nobody else."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from regalia.errors import ApiError
from regalia.identity import Principal, Pseudonyms, permits, sees
from regalia.identity.roles import not_found, not_permitted
from regalia.identity.tenants import Organisation, Project
from regalia.instance.tenancy.tenancy import Tenancy

MOST_TRIED = 100_000
"""How many pseudonyms of places one question computes: a few tenths of a second."""
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


class Named(msgspec.Struct, frozen=True):
    """What a pseudonym stands for: a "user", "key", "project" or "organisation"."""

    pseudonym: str
    kind: str
    id: str
    name: str


def named(at: Tenancy, actor: Principal, pseudonym: str, before: str = "") -> Named:
    """Who or what a pseudonym stands for. Blocks: it may have much to compute. Raises ApiError 400, 403, 404.

    Places have a pseudonym a month: they are tried from the newest month back, or from the one before
    `before` (2026-11). Where that is too much for one question, the 404 says how to go on.
    """
    if before and not _MONTH.fullmatch(before):
        raise ApiError(400, "invalid_value", "`before` is a month such as 2026-11.", param="before")
    if not _PSEUDONYM.fullmatch(pseudonym):
        raise not_found("pseudonym", pseudonym)
    found = _somebody(at, pseudonym) or _somewhere(at, pseudonym, before)
    if found is None or not sees(actor, *found[1]):
        raise not_found("pseudonym", pseudonym)
    if not permits(actor, "records.read", *found[1]):
        raise not_permitted("records.read")
    return found[0]


def _somebody(at: Tenancy, pseudonym: str) -> tuple[Named, tuple[str, str]] | None:
    actor = at.actors.of(pseudonym, at.tenants.users, at.tenants.keys)
    kind, _, ident = (actor or "").partition(":")
    if kind == "user":
        user = at.tenants.users[ident]
        return Named(pseudonym, kind, ident, user.name), (user.organisation, "")
    if kind == "key":
        key = at.tenants.keys[ident]
        return Named(pseudonym, kind, ident, key.name), key.place
    return None


def _somewhere(at: Tenancy, pseudonym: str, before: str) -> tuple[Named, tuple[str, str]] | None:
    places: list[Organisation | Project] = [
        *tuple(at.tenants.organisations.values()),
        *tuple(at.tenants.projects.values()),
    ]
    names = Pseudonyms(at.secret)
    tried = 0
    for month, ends in _months(min((one.created for one in places), default=at.clock()), before, at.clock()):
        there = [one for one in places if one.created < ends]
        if tried and tried + len(there) > MOST_TRIED:
            following = f"{datetime.fromtimestamp(ends / 1000, UTC):%Y-%m}"
            raise ApiError(
                404,
                "pseudonym_not_found",
                f"It is nobody's, and of no place since {following}; ask with `before={following}` to go on.",
                param="before",
            )
        tried += len(there)
        for one in there:
            project = isinstance(one, Project)
            if names.of(one.id if project else f"organisation:{one.id}", month) == pseudonym:
                place = (one.organisation, one.id) if isinstance(one, Project) else (one.id, "")
                return Named(pseudonym, "project" if project else "organisation", one.id, one.name), place
    return None


def _months(oldest: int, before: str, now: int) -> Iterator[tuple[int, int]]:
    """The beginning and the end of each month, in ms, from the newest back to that of `oldest`."""
    if before:
        ends = datetime.fromisoformat(f"{before}-01").replace(tzinfo=UTC)
    else:
        ends = _first(_first(datetime.fromtimestamp(now / 1000, UTC)) + timedelta(days=32))
    while _ms(ends) > oldest and ends.year > 1970:
        begins = _first(ends - timedelta(days=1))
        yield _ms(begins), _ms(ends)
        ends = begins


def _first(day: datetime) -> datetime:
    return day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
