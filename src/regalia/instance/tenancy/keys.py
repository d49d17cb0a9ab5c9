"""API keys: created, shown once, rotated with an overlap, revoked."""

from typing import Annotated

import msgspec
from sqlalchemy import Connection, insert, update

from regalia.errors import ApiError
from regalia.gateway import ROUTES
from regalia.identity import ROLES, Held, Principal, hash_key, new_key, permits, sees
from regalia.identity.keys import RANDOM_BYTES, parse_network
from regalia.identity.roles import DEVELOPER, not_found, not_permitted
from regalia.identity.tenants import SCOPES, ApiKey
from regalia.instance.tenancy.people import grantable
from regalia.instance.tenancy.places import organisation, project
from regalia.instance.tenancy.tenancy import Tenancy, Write, bounded, changed_meanwhile, refuse_more
from regalia.storage.schema.tenancy import api_keys

LONGEST_OVERLAP_S = 90 * 86_400
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Ident = Annotated[str, msgspec.Meta(max_length=64)]
List = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=100)]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to create.

    With `user` it is that person's, with the roles they have within its scope; without, it is a service
    key with the one `role`. `scope` is "project", "organisation" or "instance". `expires` is in
    milliseconds since the epoch. `models`, `routes` and `networks` (CIDR) narrow it; None is all.
    """

    name: Text
    project: Ident = ""
    organisation: Ident = ""
    scope: str = "project"
    user: Ident = ""
    role: str = DEVELOPER
    models: List | None = None
    routes: List | None = None
    networks: List | None = None
    expires: int | None = None


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key with its text, which is shown now and never again."""

    key: ApiKey
    secret: str


async def create_key(at: Tenancy, actor: Principal, wanted: NewKey) -> IssuedKey:
    """A new key. Raises ApiError."""
    home = _home(at, actor, wanted)
    made = ApiKey(
        id=at.new_id("key"),
        name=bounded("name", wanted.name),
        role="" if wanted.user else wanted.role,
        organisation=home[0],
        project=home[1],
        scope=wanted.scope,
        user=wanted.user,
        issuer=_issuer(actor, wanted.user),
        hint="",
        created=at.clock(),
        models=wanted.models,
        routes=wanted.routes,
        networks=wanted.networks,
        expires=wanted.expires,
    )
    _check_powers(at, actor, made)
    _check_narrowing(made, at.clock())
    _refuse_wider(at, actor, made)
    return await _issue(at, actor, made, "key_created", {})


async def rotate_key(at: Tenancy, actor: Principal, ident: str, overlap_s: int = 3600) -> IssuedKey:
    """A key like another one, which stays valid for `overlap_s` seconds more. Raises ApiError."""
    old = key(at, actor, ident)
    _check_powers(at, actor, old)
    now = at.clock()
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise ApiError(
            400, "invalid_value", f"The overlap is 0 to {LONGEST_OVERLAP_S} seconds.", param="overlap_seconds"
        )
    if old.revoked is not None or old.successor is not None or (old.expires or now + 1) <= now:
        raise ApiError(409, "key_ended", "This key has ended or was rotated already.")
    made = msgspec.structs.replace(old, id=at.new_id("key"), issuer=_issuer(actor, old.user), created=now)
    _refuse_wider(at, actor, made)
    ends = min(old.expires or 1 << 52, now + overlap_s * 1000)

    def retire(connection: Connection, generation: int) -> None:
        here = (api_keys.c.id == ident) & api_keys.c.revoked.is_(None) & api_keys.c.successor.is_(None)
        change = update(api_keys).where(here).values(expires=ends, successor=made.id, changed=generation)
        if connection.execute(change).rowcount != 1:
            raise changed_meanwhile()

    fields: dict[str, str | int] = {"replaces": at.who(f"key:{ident}"), "until": ends}
    return await _issue(at, actor, made, "key_rotated", fields, retire)


async def revoke_key(at: Tenancy, actor: Principal, ident: str) -> ApiKey:
    """End a key: every process refuses it within a second. Raises ApiError."""
    found = key(at, actor, ident)
    if not _own(actor, found) and not permits(actor, "keys.manage", *found.place):
        raise not_permitted("keys.manage")
    now = at.clock()

    def write(connection: Connection, generation: int) -> None:
        here = (api_keys.c.id == ident) & api_keys.c.revoked.is_(None)
        change = update(api_keys).where(here).values(revoked=now, changed=generation)
        if connection.execute(change).rowcount != 1:
            raise changed_meanwhile()

    if found.revoked is None:
        fields = {"subject": at.who(f"key:{ident}"), **at.place(found.organisation, found.project)}
        await at.change("key_revoked", actor, dict(fields), write)
    return at.tenants.keys[ident]


def key(at: Tenancy, actor: Principal, ident: str) -> ApiKey:
    """One key. Raises ApiError 404 where the actor has no business, 403 where they may not see keys."""
    found = at.tenants.keys.get(ident)
    if found is None or not (_own(actor, found) or sees(actor, *found.place)):
        raise not_found("key", ident)
    if not _sees_key(actor, found):
        raise not_permitted("keys.read")
    return found


def list_keys(at: Tenancy, actor: Principal, within: str = "") -> list[ApiKey]:
    """The keys that the actor may see, of one project if named, the newest first. Raises ApiError 404."""
    if within:
        project(at, actor, within)
    every = tuple(at.tenants.keys.values())
    found = [one for one in every if within in ("", one.project) and _sees_key(actor, one)]
    return sorted(found, key=lambda one: (-one.created, one.id))


async def _issue(
    at: Tenancy,
    actor: Principal,
    made: ApiKey,
    action: str,
    fields: dict[str, str | int],
    also: Write[None] | None = None,
) -> IssuedKey:
    now = at.clock()
    there = sum(one.revoked is None and (one.expires or now + 1) > now for one in at.tenants.keys.values())
    refuse_more("keys", there, at.limits.keys)
    secret = new_key(at.random(RANDOM_BYTES))
    made = msgspec.structs.replace(made, hint=secret[-4:])

    def write(connection: Connection, generation: int) -> None:
        if also is not None:
            also(connection, generation)
        row = msgspec.structs.asdict(made)
        for name in ("models", "routes", "networks"):
            row[name] = None if row[name] is None else msgspec.json.encode(row[name]).decode()
        digest = hash_key(at.secret, secret)
        connection.execute(insert(api_keys).values(**row, hash=digest, changed=generation))

    about: dict[str, str | int] = {
        "subject": at.who(f"key:{made.id}"),
        "scope": made.scope,
        "role": made.role,
        **at.place(made.organisation, made.project),
        **fields,
    }
    if made.user:
        about["user"] = at.who(f"user:{made.user}")
    if made.expires is not None:
        about["expires"] = made.expires
    await at.change(action, actor, about, write)
    return IssuedKey(made, secret)


def _home(at: Tenancy, actor: Principal, wanted: NewKey) -> tuple[str, str]:
    """The organisation and project that the key is of. Raises ApiError 400, 404."""
    if wanted.scope not in SCOPES:
        raise ApiError(400, "invalid_value", f"`scope` is one of: {', '.join(SCOPES)}.", param="scope")
    home = wanted.organisation, ""
    if wanted.project:
        inner = project(at, actor, wanted.project)
        if wanted.organisation not in ("", inner.organisation):
            raise not_found("project", wanted.project)
        home = inner.organisation, inner.id
    elif wanted.organisation:
        organisation(at, actor, wanted.organisation)
    needed = {"project": home[1], "organisation": home[0]}.get(wanted.scope, "instance")
    if not needed:
        raise ApiError(
            400, "missing_field", f"A key of this scope needs `{wanted.scope}`.", param=wanted.scope
        )
    return home


def _check_narrowing(made: ApiKey, now: int) -> None:
    known = {route.name for route in ROUTES}
    for route in made.routes or ():
        if route not in known:
            raise ApiError(
                400, "invalid_value", f"`routes` are of: {', '.join(sorted(known))}.", param="routes"
            )
    try:
        for network in made.networks or ():
            parse_network(network)
    except ValueError as error:
        raise ApiError(400, "invalid_value", f"`networks`: {error}.", param="networks") from error
    if made.expires is not None and made.expires <= now:
        raise ApiError(400, "invalid_value", "`expires` has passed already.", param="expires")


def _check_powers(at: Tenancy, actor: Principal, wanted: ApiKey) -> None:
    """Raise ApiError unless the actor may hold in hand what the key can do.

    Whoever creates or rotates a key sees its text: so it must not do what they may neither do nor give.
    """
    if wanted.user:
        person = at.tenants.users.get(wanted.user)
        if person is None or not (_own(actor, wanted) or sees(actor, person.organisation)):
            raise not_found("user", wanted.user)
        held = at.tenants.held_within(wanted.user, wanted.scope, wanted.organisation, wanted.project)
        if _own(actor, wanted) and all(_within(one, actor.held) for one in held):
            return
    else:
        if wanted.role not in {role.name for role in ROLES}:
            raise ApiError(400, "invalid_value", "There is no such role: see `regalia roles`.", param="role")
        held = (Held(wanted.role, *wanted.place),)
    if not permits(actor, "keys.manage", *wanted.place):
        raise not_permitted("keys.manage")
    for one in held:
        if not grantable(actor, one.role, one.organisation, one.project) and not _within(one, actor.held):
            raise ApiError(
                403, "not_permitted", f"Your roles do not permit you to give out `{one.role}` there."
            )


def _issuer(actor: Principal, user: str) -> str:
    """Who has the new key's text in hand: a key that somebody else gave a person makes none of their own."""
    return actor.issuer if actor.issuer and user and user == actor.user else actor.actor


def _refuse_wider(at: Tenancy, actor: Principal, made: ApiKey) -> None:
    """Raise ApiError where a key that is narrowed would make one that reaches further than itself."""
    own = at.tenants.keys.get(actor.key_id)
    if own is None:  # who signed in, or stands at the machine
        return
    wider = [
        name
        for name in ("models", "routes")
        if (mine := getattr(own, name)) is not None and not set(getattr(made, name) or ("*",)) <= set(mine)
    ]
    if own.networks is not None and not _inside(made.networks, own.networks):
        wider.append("networks")
    if own.expires is not None and (made.expires is None or made.expires > own.expires):
        wider.append("expires")
    if wider:
        raise ApiError(
            403,
            "not_permitted",
            f"A key can't make one that reaches further than itself: narrow {', '.join(wider)}, too.",
            param=wider[0],
        )


def _inside(networks: tuple[str, ...] | None, others: tuple[str, ...]) -> bool:
    """Whether every one of the networks lies within one of the others."""
    bounds = [parse_network(one) for one in others]
    return networks is not None and all(
        any(inner.version == outer.version and inner.subnet_of(outer) for outer in bounds)  # type: ignore[arg-type]
        for inner in map(parse_network, networks)
    )


def _within(one: Held, held: tuple[Held, ...]) -> bool:
    return any(own.role == one.role and own.covers(one.organisation, one.project) for own in held)


def _own(actor: Principal, found: ApiKey) -> bool:
    return found.id == actor.key_id or (actor.user != "" and actor.user == found.user)


def _sees_key(actor: Principal, found: ApiKey) -> bool:
    return _own(actor, found) or permits(actor, "keys.read", *found.place)
