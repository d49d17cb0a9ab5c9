"""Who is behind a pseudonym in the log: for those who read records, and nobody else."""

import msgspec

from regalia.identity import Principal, Pseudonyms, permits, sees
from regalia.identity.roles import not_found, not_permitted
from regalia.instance.tenancy.tenancy import Tenancy

_DAY_MS = 86_400_000


class Named(msgspec.Struct, frozen=True):
    """What a pseudonym stands for: a "user", "key", "project" or "organisation"."""

    pseudonym: str
    kind: str
    id: str
    name: str


def named(at: Tenancy, actor: Principal, pseudonym: str) -> Named:
    """Who or what a pseudonym stands for. Raises ApiError 403, 404."""
    found = _find(at, pseudonym)
    if found is None or not sees(actor, *found[1]):
        raise not_found("pseudonym", pseudonym)
    if not permits(actor, "records.read", *found[1]):
        raise not_permitted("records.read")
    return found[0]


def _find(at: Tenancy, pseudonym: str) -> tuple[Named, tuple[str, str]] | None:
    for user in at.tenants.users.values():
        if at.who(f"user:{user.id}") == pseudonym:
            return Named(pseudonym, "user", user.id, user.name), (user.organisation, "")
    for key in at.tenants.keys.values():
        if at.who(f"key:{key.id}") == pseudonym:
            return Named(pseudonym, "key", key.id, key.name), key.place
    now = at.clock()
    names = Pseudonyms(at.secret)
    places = [(f"organisation:{one.id}", one) for one in at.tenants.organisations.values()]
    places += [(one.id, one) for one in at.tenants.projects.values()]  # type: ignore[misc]
    oldest = min((one.created for _, one in places), default=now)
    for day in [*range(oldest, now, 20 * _DAY_MS), now]:  # each month at least once
        for ident, one in places:
            if names.of(ident, day) == pseudonym:
                kind = "organisation" if ident.startswith("organisation:") else "project"
                place = (getattr(one, "organisation", one.id), one.id if kind == "project" else "")
                return Named(pseudonym, kind, one.id, one.name), place
    return None
