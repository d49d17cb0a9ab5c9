"""People of the organisation and of its projects, and invitations.

Two of Regalia's roles have a counterpart in OpenAI's API: `owner` and the plain member ("reader" of the
organisation, "member" of a project, which is `developer` here); a project's "owner" is `project-admin`. Who
has other roles shows as the nearest of these and keeps them: `regalia members` and /v1/regalia give and
take those.

No mail is sent. Whoever is invited is added at once, and may sign in under that address from then on; until
they have, the invitation is pending.
"""

from functools import partial
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, select

from regalia.errors import ApiError
from regalia.identity import Principal
from regalia.identity.roles import DEVELOPER, MEMBER, OWNER, PROJECT_ADMIN, not_found
from regalia.identity.tenants import User
from regalia.instance.organization.listing import (
    PAGING,
    Text,
    deleted,
    home,
    own_project,
    page,
    seconds,
    served,
)
from regalia.instance.tenancy import (
    NewUser,
    RoleAt,
    add_user,
    disable_user,
    give_role,
    list_users,
    take_role,
    user,
)
from regalia.instance.tenancy.paging import Asked
from regalia.instance.tenancy.tenancy import Tenancy
from regalia.storage.schema.signin import accounts, identities

_PROJECT_ROLES = {"owner": PROJECT_ADMIN, "member": DEVELOPER}


class OrganizationRole(msgspec.Struct, frozen=True):
    """A person's role in the organisation."""

    role: Literal["owner", "reader"]


class ProjectRole(msgspec.Struct, frozen=True):
    """A person's role in a project."""

    role: Literal["owner", "member"]


class NewMember(msgspec.Struct, frozen=True):
    """A person to join a project, by id or address."""

    role: Literal["owner", "member"]
    user_id: Text | None = None
    email: Text | None = None


class InvitedTo(msgspec.Struct, frozen=True):
    """A project to join, with the role there."""

    id: Text
    role: Literal["owner", "member"]


class Invitation(msgspec.Struct, frozen=True):
    """Whom to invite."""

    email: Text
    role: Literal["owner", "reader"]
    projects: tuple[InvitedTo, ...] = ()


@served("GET", "/users", "List the organisation's people", query=(*PAGING, "emails"))
def _users(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    emails = [text.lower() for text in asked.get("emails", "").split(",") if text]
    found = [one for one in _people(at, actor) if not emails or one.email.lower() in emails]
    return page([_shown(at, one) for one in found], asked)


@served("GET", "/users/{user}", "Retrieve a person")
async def _user(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return _shown(at, _person(at, actor, asked["user"]))


@served("POST", "/users/{user}", "Make a person an owner, or no longer one", body=OrganizationRole)
async def _change_user(at: Tenancy, actor: Principal, asked: Asked, body: OrganizationRole) -> object:
    found = _person(at, actor, asked["user"])
    if (body.role == "owner") != _owns(at, found):
        change = give_role if body.role == "owner" else take_role
        await change(at, actor, found.id, RoleAt(OWNER, home(at, actor).id))
    return _shown(at, found)


@served("DELETE", "/users/{user}", "Lock a person out")
async def _delete_user(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    await disable_user(at, actor, _person(at, actor, asked["user"]).id)
    return deleted("organization.user", asked["user"])


@served("GET", "/projects/{project}/users", "List a project's people", query=PAGING)
def _members(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    within = own_project(at, actor, asked["project"]).id
    found = [one for one in _people(at, actor) if _roles_in(at, one, within)]
    return page([member(at, one, within) for one in found], asked)


@served("POST", "/projects/{project}/users", "Let a person join a project", body=NewMember)
async def _add_member(at: Tenancy, actor: Principal, asked: Asked, body: NewMember) -> object:
    within = own_project(at, actor, asked["project"])
    found = await at.scan(lambda: _named(at, actor, body))
    await give_role(at, actor, found.id, _role_at(body.role, within.organisation, within.id))
    return member(at, found, within.id)


@served("GET", "/projects/{project}/users/{user}", "Retrieve a project's person")
async def _member(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return member(at, *_found_member(at, actor, asked))


@served("POST", "/projects/{project}/users/{user}", "Change a person's role in a project", body=ProjectRole)
async def _change_member(at: Tenancy, actor: Principal, asked: Asked, body: ProjectRole) -> object:
    found, within = _found_member(at, actor, asked)
    held = _roles_in(at, found, within)
    wanted = _PROJECT_ROLES[body.role]
    organisation = home(at, actor).id
    if wanted not in held:
        await give_role(at, actor, found.id, RoleAt(wanted, organisation, within))
    for role in ({PROJECT_ADMIN, DEVELOPER} - {wanted}) & held:  # one that an earlier attempt left, too
        await take_role(at, actor, found.id, RoleAt(role, organisation, within))
    return member(at, found, within)


@served("DELETE", "/projects/{project}/users/{user}", "Let a person leave a project")
async def _remove_member(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found, within = _found_member(at, actor, asked)
    for role in _roles_in(at, found, within):
        await take_role(at, actor, found.id, RoleAt(role, home(at, actor).id, within))
    return deleted("organization.project.user", found.id)


@served("GET", "/invites", "List invitations", query=PAGING)
def _invites(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    with at.database.read() as connection:
        known = _signed_in(connection)
    return page([_invite(at, one, one.id in known) for one in _people(at, actor)], asked)


@served("POST", "/invites", "Add a person, who may sign in from then on", body=Invitation)
async def _create_invite(at: Tenancy, actor: Principal, _asked: Asked, body: Invitation) -> object:
    within = home(at, actor).id
    if len(body.projects) > 100:
        raise ApiError(400, "invalid_value", "An invitation is to at most 100 projects.", param="projects")
    places = [(own_project(at, actor, one.id), one.role) for one in body.projects]
    added = await add_user(at, actor, NewUser(body.email, body.email, within))
    if body.role == "owner":
        await give_role(at, actor, added.id, RoleAt(OWNER, within))
    elif not places:
        await give_role(at, actor, added.id, RoleAt(MEMBER, within))
    for project, role in places:
        await give_role(at, actor, added.id, _role_at(role, within, project.id))
    return _invite(at, added, signed_in=False)


@served("GET", "/invites/{invite}", "Retrieve an invitation")
async def _one_invite(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = _person(at, actor, asked["invite"])
    return _invite(at, found, await at.read(partial(_has_signed_in, found.id)))


@served("DELETE", "/invites/{invite}", "Take a pending invitation back")
async def _delete_invite(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = _person(at, actor, asked["invite"])
    if await at.read(partial(_has_signed_in, found.id)):
        raise ApiError(409, "invite_accepted", "This invitation was accepted: lock the person out instead.")
    await disable_user(at, actor, found.id)
    return deleted("organization.invite", found.id)


def member(at: Tenancy, found: User, project: str) -> dict[str, Any]:
    """A person in a project, in the API's shape."""
    return {
        "object": "organization.project.user",
        "id": found.id,
        "name": found.name,
        "email": found.email,
        "role": "owner" if PROJECT_ADMIN in _roles_in(at, found, project) else "member",
        "added_at": seconds(found.created),
    }


def _shown(at: Tenancy, found: User) -> dict[str, Any]:
    return {
        "object": "organization.user",
        "id": found.id,
        "name": found.name,
        "email": found.email,
        "role": "owner" if _owns(at, found) else "reader",
        "added_at": seconds(found.created),
    }


def _invite(at: Tenancy, found: User, signed_in: bool) -> dict[str, Any]:
    places = sorted({grant.project for grant in at.tenants.grants_of(found.id) if grant.project})
    return {
        "object": "organization.invite",
        "id": found.id,
        "email": found.email,
        "role": "owner" if _owns(at, found) else "reader",
        "status": "accepted" if signed_in else "pending",
        "invited_at": seconds(found.created),
        "expires_at": None,
        "accepted_at": None,
        "projects": [{"id": place, "role": member(at, found, place)["role"]} for place in places],
    }


def _people(at: Tenancy, actor: Principal) -> list[User]:
    return [one for one in list_users(at, actor, home(at, actor).id) if _at_home(at, actor, one)]


def _person(at: Tenancy, actor: Principal, ident: str) -> User:
    found = user(at, actor, ident)
    if not _at_home(at, actor, found):
        raise not_found("user", ident)
    return found


def _named(at: Tenancy, actor: Principal, body: NewMember) -> User:
    """The person that a body names. Raises ApiError 400, 404."""
    if (body.user_id is None) == (body.email is None):
        raise ApiError(400, "invalid_value", "Give either `user_id` or `email`.", param="user_id")
    if body.user_id is not None:
        return _person(at, actor, body.user_id)
    email = str(body.email).lower()
    for one in _people(at, actor):
        if one.email.lower() == email:
            return one
    raise not_found("user", email)


def _at_home(at: Tenancy, actor: Principal, found: User) -> bool:
    return found.organisation == home(at, actor).id and found.disabled is None


def _found_member(at: Tenancy, actor: Principal, asked: Asked) -> tuple[User, str]:
    within = own_project(at, actor, asked["project"]).id
    found = _person(at, actor, asked["user"])
    if not _roles_in(at, found, within):
        raise not_found("user", found.id)
    return found, within


def _roles_in(at: Tenancy, found: User, project: str) -> frozenset[str]:
    return frozenset(grant.role for grant in at.tenants.grants_of(found.id) if grant.project == project)


def _owns(at: Tenancy, found: User) -> bool:
    return any(
        grant.role == OWNER and grant.organisation in ("", found.organisation) and not grant.project
        for grant in at.tenants.grants_of(found.id)
    )


def _role_at(role: Literal["owner", "member"], organisation: str, project: str) -> RoleAt:
    return RoleAt(_PROJECT_ROLES[role], organisation, project)


def _signed_in(connection: Connection) -> set[str]:
    """Who has signed in at a provider, or has an account here."""
    found = connection.execute(select(identities.c.user).union(select(accounts.c.user)))
    return {str(row[0]) for row in found}


def _has_signed_in(user: str, connection: Connection) -> bool:
    theirs = select(identities.c.user).where(identities.c.user == user)
    local = select(accounts.c.user).where(accounts.c.user == user)
    return connection.execute(theirs.union(local)).first() is not None
