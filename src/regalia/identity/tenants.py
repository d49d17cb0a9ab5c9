"""Organisations, projects, people, roles and keys in memory: the whole of who may ask, as plain data.

`Tenants` decides and does no I/O: rows go in (`absorb`), principals come out. It is owned by the event loop
of its process.
"""

import msgspec

from regalia.identity.keys import RingKey, parse_network
from regalia.identity.principal import Held, Principal
from regalia.identity.roles import roles_at

SCOPES = ("instance", "organisation", "project")


class Organisation(msgspec.Struct, frozen=True):
    """Who is accountable for its projects. Times in milliseconds since the epoch."""

    id: str
    name: str
    created: int
    archived: int | None = None


class Project(msgspec.Struct, frozen=True):
    """The boundary of who sees what. `ceiling` is a classification label; models None are all."""

    id: str
    organisation: str
    name: str
    ceiling: str
    jurisdiction: str
    retention: str
    created: int
    models: tuple[str, ...] | None = None
    archived: int | None = None


class User(msgspec.Struct, frozen=True):
    """A person, at home in an organisation ("" for the instance's own people)."""

    id: str
    name: str
    email: str
    organisation: str
    created: int
    disabled: int | None = None


class Grant(msgspec.Struct, frozen=True):
    """A person's role, and where it holds. `source` says which directory gave it, "" if a person did."""

    id: str
    user: str
    role: str
    organisation: str
    project: str
    created: int
    source: str = ""
    ended: int | None = None

    @property
    def held(self) -> Held:
        """The role with its place."""
        return Held(self.role, self.organisation, self.project)


class ApiKey(msgspec.Struct, frozen=True):
    """A key without its text. `scope` bounds where it works; `user` is "" for a service key."""

    id: str
    name: str
    role: str
    organisation: str
    project: str
    scope: str
    user: str
    issuer: str
    hint: str
    created: int
    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires: int | None = None
    revoked: int | None = None
    successor: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        """The organisation and project in which it works, "" for all."""
        return place_of(self.scope, self.organisation, self.project)


class Changes(msgspec.Struct, frozen=True):
    """What was written since a generation. `keys` are with their hashes."""

    generation: int
    organisations: tuple[Organisation, ...] = ()
    projects: tuple[Project, ...] = ()
    users: tuple[User, ...] = ()
    grants: tuple[Grant, ...] = ()
    keys: tuple[tuple[bytes, ApiKey], ...] = ()


class Tenants:
    """All that is known, by id."""

    def __init__(self) -> None:
        self.generation = 0
        self.organisations: dict[str, Organisation] = {}
        self.projects: dict[str, Project] = {}
        self.users: dict[str, User] = {}
        self.grants: dict[str, Grant] = {}
        self.keys: dict[str, ApiKey] = {}
        self._hashes: dict[str, bytes] = {}
        self._grants_of: dict[str, dict[str, Grant]] = {}

    def absorb(self, changes: Changes) -> dict[bytes, RingKey | None]:
        """Take changes in; the ring keys that follow from them, None for a key that is not valid."""
        self.generation = changes.generation
        places = {one.id for one in changes.organisations} | {one.id for one in changes.projects}
        people = {one.id for one in changes.users} | {one.user for one in changes.grants}
        self.organisations |= {one.id: one for one in changes.organisations}
        self.projects |= {one.id: one for one in changes.projects}
        self.users |= {one.id: one for one in changes.users}
        for grant in changes.grants:
            self.grants[grant.id] = grant
            self._grants_of.setdefault(grant.user, {})[grant.id] = grant
        affected = {key.id for _, key in changes.keys}
        if places or people:
            affected |= {
                key.id
                for key in self.keys.values()
                if key.user in people or key.project in places or key.organisation in places
            }
        for digest, key in changes.keys:
            self.keys[key.id] = key
            self._hashes[key.id] = digest
        return {self._hashes[ident]: self.ring_key(self.keys[ident]) for ident in affected}

    def ring_key(self, key: ApiKey) -> RingKey | None:
        """The key as the ring holds it; None if it was revoked, or what it belongs to has ended."""
        if key.revoked is not None or not self._stands(key.organisation, key.project):
            return None
        if key.user:
            user = self.users.get(key.user)
            if user is None or user.disabled is not None:
                return None
            held = self.held_within(key.user, key.scope, key.organisation, key.project)
        else:
            held = (Held(key.role, *key.place),)
        networks = None if key.networks is None else tuple(map(parse_network, key.networks))
        principal = self._principal(
            key.id,
            key.organisation,
            key.project,
            held,
            role=key.role,
            user=key.user,
            models=None if key.models is None else frozenset(key.models),
            routes=None if key.routes is None else frozenset(key.routes),
            issuer=key.issuer,
        )
        return RingKey(principal, key.expires, networks)

    def principal_of_user(self, user: str, project: str = "", key_id: str = "") -> Principal | None:
        """A person who has signed in, at work in `project` ("" for none); None if there is no such person.

        None, too, where the person has no role in that project, or it is archived.
        """
        person = self.users.get(user)
        if person is None or person.disabled is not None:
            return None
        held = self.held_of(user)
        organisation = person.organisation
        if project:
            found = self.projects.get(project)
            if found is None or not roles_at(held, found.organisation, project):
                return None
            organisation = found.organisation
        if not self._stands(organisation, project):
            return None
        return self._principal(key_id or user, organisation, project, held, user=user)

    def held_of(self, user: str) -> tuple[Held, ...]:
        """A person's roles with where they hold."""
        return tuple(grant.held for grant in self.grants_of(user))

    def held_within(self, user: str, scope: str, organisation: str, project: str) -> tuple[Held, ...]:
        """A person's roles as far as a key of that scope reaches."""
        reached = (narrowed(one, scope, organisation, project) for one in self.held_of(user))
        return tuple(one for one in reached if one is not None)

    def held_by(self, actor: str) -> tuple[Held, ...]:
        """The roles of whoever issued a key: a person's, a service key's own; at the machine an owner's."""
        kind, _, ident = actor.partition(":")
        if kind == "user":
            return self.held_of(ident)
        if kind != "key":
            return (Held("owner"),)
        key = self.keys.get(ident)
        return (Held(key.role, *key.place),) if key is not None else ()

    def grants_of(self, user: str) -> tuple[Grant, ...]:
        """A person's grants that have not ended."""
        every = tuple(self._grants_of.get(user, {}).values())  # at once: threads ask, too
        return tuple(grant for grant in every if grant.ended is None)

    def _stands(self, organisation: str, project: str) -> bool:
        """Whether the organisation and the project exist and are not archived; "" always does."""
        if organisation:
            found = self.organisations.get(organisation)
            if found is None or found.archived is not None:
                return False
        if project:
            inner = self.projects.get(project)
            return inner is not None and inner.archived is None and inner.organisation == organisation
        return True

    def _principal(
        self,
        key_id: str,
        organisation: str,
        project: str,
        held: tuple[Held, ...],
        *,
        role: str = "",
        user: str = "",
        models: frozenset[str] | None = None,
        routes: frozenset[str] | None = None,
        issuer: str = "",
    ) -> Principal:
        found = self.projects.get(project)
        if found is not None and found.models is not None:
            models = frozenset(found.models) if models is None else models & frozenset(found.models)
        return Principal(
            key_id,
            project,
            role,
            organisation,
            user,
            roles_at(held, organisation, project),
            models,
            routes,
            found.ceiling if found else "",
            found.jurisdiction if found else "",
            held,
            issuer,
        )


def narrowed(held: Held, scope: str, organisation: str, project: str) -> Held | None:
    """What of a role a key of that scope reaches; None where it does not reach it."""
    if scope == "instance":
        return held
    if scope == "organisation":
        return Held(held.role, organisation, held.project) if held.touches(organisation) else None
    return Held(held.role, organisation, project) if held.covers(organisation, project) else None


def place_of(scope: str, organisation: str, project: str) -> tuple[str, str]:
    """The organisation and project that a scope reaches, "" for all."""
    if scope == "instance":
        return "", ""
    return (organisation, "") if scope == "organisation" else (organisation, project)
