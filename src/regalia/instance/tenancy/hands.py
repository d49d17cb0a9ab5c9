"""Whether two who act are two people: wherever a second person must agree, this is asked.

Whoever issues a key has its text in hand and can act as whom it is for, and so can whoever could act as the
issuer. A key that has ended meanwhile counts as well: what was asked may have been asked with it. What this
cannot see is named in docs/roles.md: people who are made up, and people who agree.
"""

from regalia.errors import ApiError
from regalia.identity import Principal
from regalia.instance.tenancy.tenancy import Tenancy


def refuse_same_hands(
    at: Tenancy, actor: Principal, other: str, since: int, *, machines: bool = False
) -> None:
    """Raise ApiError 403 where the actor could have acted as `other`, or `other` can act as the actor.

    `other` is who asked (`user:ID`, `key:ID`, `os:NAME`), at `since` (ms) or later, by whichever key. Where
    `machines` may stand for persons, a service key and whoever has a key from the same hands are one, too.
    """
    own = hands_of(at, actor.actor, since, actor.issuer)
    others = hands_of(at, other, since)
    if other in own or actor.actor in others:
        raise not_independent()
    common = {one for one in own & others if not one.startswith("os:")}  # the first keys came from there
    if machines and common and "key" in (actor.actor.partition(":")[0], other.partition(":")[0]):
        raise not_independent()


def hands_of(at: Tenancy, actor: str, since: int, issuer: str | None = None) -> frozenset[str]:
    """Whoever could have acted as `actor` at `since` or later, themselves included.

    `issuer` is who issued the key that was used, "" for none; None where it is not known which one was.
    """
    found = {actor}
    waiting = _issuers(at, actor, since) if issuer is None else {issuer}
    while waiting:
        one = waiting.pop()
        if one and one not in found:
            found.add(one)
            waiting |= _issuers(at, one, since)
    return frozenset(found)


def not_independent() -> ApiError:
    """The error of a second person who may be the first."""
    return ApiError(
        403, "not_independent", "One of you issued the other's key, so you are no second person here."
    )


def _issuers(at: Tenancy, actor: str, since: int) -> set[str]:
    """Who issued the keys of a person that were good at `since` or later; of a service key, who issued it."""
    kind, _, ident = actor.partition(":")
    if kind == "key":
        key = at.tenants.keys.get(ident)
        return {key.issuer} if key is not None else set()
    if kind != "user":
        return set()
    return {
        key.issuer
        for key in at.tenants.keys.values()
        if key.user == ident
        and (key.revoked is None or key.revoked >= since)
        and (key.expires is None or key.expires >= since)
    }
