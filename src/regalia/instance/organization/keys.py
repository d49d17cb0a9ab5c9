"""API keys: a project's, its service accounts (each with the one key), and the organisation's admin keys.

Deleting a key is revoking it: it stops to work within a second and stays on record.
"""

from typing import Annotated, Any

import msgspec

from regalia.identity import Principal
from regalia.identity.roles import DEVELOPER, OWNER, not_found
from regalia.identity.tenants import ApiKey
from regalia.instance.organization import people
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
from regalia.instance.tenancy import IssuedKey, NewKey, create_key, key, list_keys, revoke_key
from regalia.instance.tenancy.paging import Asked
from regalia.instance.tenancy.tenancy import Tenancy

_ACCOUNT = "organization.project.service_account"


class Named(msgspec.Struct, frozen=True):
    """A service account or key to create; without an end it works until it is revoked."""

    name: Text
    expires_in_seconds: Annotated[int, msgspec.Meta(ge=1, le=10**10)] | None = None

    def expires(self, now_ms: int) -> int | None:
        """The key's end, in milliseconds."""
        return None if self.expires_in_seconds is None else now_ms + 1000 * self.expires_in_seconds


@served("GET", "/projects/{project}/service_accounts", "List a project's service accounts", query=PAGING)
def _accounts(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = [one for one in _of_project(at, actor, asked["project"]) if not one.user]
    return page([_account(one) for one in found], asked)


@served("POST", "/projects/{project}/service_accounts", "Create a service account and its key", body=Named)
async def _create_account(at: Tenancy, actor: Principal, asked: Asked, body: Named) -> object:
    within = own_project(at, actor, asked["project"])
    wanted = NewKey(
        body.name, within.id, within.organisation, role=DEVELOPER, expires=body.expires(at.clock())
    )
    issued = await create_key(at, actor, wanted)
    return {
        **_account(issued.key),
        "api_key": {
            "object": f"{_ACCOUNT}.api_key",
            "value": issued.secret,
            "name": issued.key.name,
            "created_at": seconds(issued.key.created),
            "id": issued.key.id,
        },
    }


@served("GET", "/projects/{project}/service_accounts/{account}", "Retrieve a service account")
async def _one_account(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return _account(_found_account(at, actor, asked))


@served("DELETE", "/projects/{project}/service_accounts/{account}", "Revoke a service account's key")
async def _delete_account(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    ended = await revoke_key(at, actor, _found_account(at, actor, asked).id)
    return deleted(_ACCOUNT, ended.id)


@served("GET", "/projects/{project}/api_keys", "List a project's API keys", query=PAGING)
def _keys(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page([_shown(at, one) for one in _of_project(at, actor, asked["project"])], asked)


@served("GET", "/projects/{project}/api_keys/{key}", "Retrieve a project's API key")
async def _key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return _shown(at, _found(at, actor, asked["project"], asked["key"]))


@served("DELETE", "/projects/{project}/api_keys/{key}", "Revoke a project's API key")
async def _delete_key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    ended = await revoke_key(at, actor, _found(at, actor, asked["project"], asked["key"]).id)
    return deleted("organization.project.api_key", ended.id)


@served("GET", "/admin_api_keys", "List the organisation's admin keys", query=PAGING)
def _admin_keys(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page([_admin(at, one) for one in _admin_of(at, actor)], asked)


@served("POST", "/admin_api_keys", "Create an admin key", body=Named)
async def _create_admin_key(at: Tenancy, actor: Principal, _asked: Asked, body: Named) -> object:
    wanted = NewKey(
        body.name,
        organisation=home(at, actor).id,
        scope="organisation",
        role=OWNER,
        expires=body.expires(at.clock()),
    )
    issued: IssuedKey = await create_key(at, actor, wanted)
    return {**_admin(at, issued.key), "value": issued.secret}


@served("GET", "/admin_api_keys/{key}", "Retrieve an admin key")
async def _admin_key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return _admin(at, _found_admin(at, actor, asked["key"]))


@served("DELETE", "/admin_api_keys/{key}", "Revoke an admin key")
async def _delete_admin_key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    ended = await revoke_key(at, actor, _found_admin(at, actor, asked["key"]).id)
    return deleted("organization.admin_api_key", ended.id)


def _of_project(at: Tenancy, actor: Principal, ident: str) -> list[ApiKey]:
    within = own_project(at, actor, ident).id
    return [one for one in list_keys(at, actor, within) if one.scope == "project" and one.revoked is None]


def _found(at: Tenancy, actor: Principal, project: str, ident: str) -> ApiKey:
    within = own_project(at, actor, project).id
    found = key(at, actor, ident)
    if found.project != within or found.scope != "project" or found.revoked is not None:
        raise not_found("key", ident)
    return found


def _found_account(at: Tenancy, actor: Principal, asked: Asked) -> ApiKey:
    found = _found(at, actor, asked["project"], asked["account"])
    if found.user:
        raise not_found("key", found.id)
    return found


def _admin_of(at: Tenancy, actor: Principal) -> list[ApiKey]:
    within = home(at, actor).id
    return [one for one in list_keys(at, actor) if _is_admin(one, within)]


def _found_admin(at: Tenancy, actor: Principal, ident: str) -> ApiKey:
    found = key(at, actor, ident)
    if not _is_admin(found, home(at, actor).id):
        raise not_found("key", ident)
    return found


def _is_admin(found: ApiKey, organisation: str) -> bool:
    return found.scope != "project" and found.organisation == organisation and found.revoked is None


def _account(found: ApiKey) -> dict[str, Any]:
    return {
        "object": _ACCOUNT,
        "id": found.id,
        "name": found.name,
        "role": "member",
        "created_at": seconds(found.created),
    }


def _shown(at: Tenancy, found: ApiKey) -> dict[str, Any]:
    return {
        "object": "organization.project.api_key",
        "redacted_value": _redacted(found),
        "name": found.name,
        "created_at": seconds(found.created),
        "last_used_at": None,  # not kept: it would say who works when
        "id": found.id,
        "owner": _owner(at, found),
    }


def _owner(at: Tenancy, found: ApiKey) -> dict[str, Any]:
    person = at.tenants.users.get(found.user)
    if person is None:
        return {"type": "service_account", "service_account": _account(found)}
    return {"type": "user", "user": people.member(at, person, found.project)}


def _admin(at: Tenancy, found: ApiKey) -> dict[str, Any]:
    person = at.tenants.users.get(found.user)
    return {
        "object": "organization.admin_api_key",
        "id": found.id,
        "name": found.name,
        "redacted_value": _redacted(found),
        "created_at": seconds(found.created),
        "last_used_at": None,
        "owner": {
            "type": "user" if person else "service_account",
            "object": "organization.user" if person else "organization.service_account",
            "id": person.id if person else found.id,
            "name": person.name if person else found.name,
            "created_at": seconds(person.created if person else found.created),
            "role": "owner",
        },
    }


def _redacted(found: ApiKey) -> str:
    return f"rgl_...{found.hint}"
