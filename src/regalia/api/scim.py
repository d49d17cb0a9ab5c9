"""`/scim/v2`: SCIM 2.0 (RFC 7644) for a provisioning client that has the configured bearer token."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.handlers import HTTPRouteHandler

from regalia.api.scim_schemas import RESOURCE_TYPES, SCHEMAS, service_provider_config
from regalia.errors import ApiError
from regalia.identity.scim.errors import ScimError
from regalia.identity.scim.patch import patch_group, patch_user, read_patch
from regalia.identity.scim.query import asked_in, read_query, read_shown
from regalia.identity.scim.resources import (
    GROUP_SCHEMA,
    USER_SCHEMA,
    Group,
    User,
    read_group,
    read_user,
)
from regalia.instance import Instance
from regalia.instance.signin.scim import Kept, Provisioning

BASE: Final = "/scim/v2"
MEDIA_TYPE: Final = "application/scim+json"
LIST_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
OTHERS: Final = "/{other:path}"
"""Whatever is not there."""
MAX_BODY: Final = 4 * 1024 * 1024
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_USER_FILTERS: Final = frozenset({"username", "externalid", "id"})
_GROUP_FILTERS: Final = frozenset({"displayname", "externalid", "id"})
Req = Request[Any, Any, Any]
Answer = tuple[int, dict[str, Any] | None]
Handle = Callable[[Provisioning, Req], Awaitable[Answer]]


def scim_handlers(instance: Instance) -> list[HTTPRouteHandler]:
    """The routes over one running instance; without a token in the configuration there is nothing."""
    provisioning = instance.signin.provisioning
    if provisioning is None:
        return []
    where = _Where(instance, provisioning)
    routes: list[tuple[str, str, Handle]] = [
        ("GET", "/ServiceProviderConfig", _service_provider_config),
        ("GET", "/ResourceTypes", _resource_types),
        ("GET", "/ResourceTypes/{name:str}", _resource_type),
        ("GET", "/Schemas", _schemas),
        ("GET", "/Schemas/{name:str}", _schema),
        ("GET", "/Users", where.list_users),
        ("POST", "/Users", where.add_user),
        ("POST", "/Users/.search", where.search_users),
        ("GET", "/Users/{ident:str}", where.show_user),
        ("PUT", "/Users/{ident:str}", where.replace_user),
        ("PATCH", "/Users/{ident:str}", where.patch_user),
        ("DELETE", "/Users/{ident:str}", where.remove_user),
        ("GET", "/Groups", where.list_groups),
        ("POST", "/Groups", where.add_group),
        ("POST", "/Groups/.search", where.search_groups),
        ("GET", "/Groups/{ident:str}", where.show_group),
        ("PUT", "/Groups/{ident:str}", where.replace_group),
        ("PATCH", "/Groups/{ident:str}", where.patch_group),
        ("DELETE", "/Groups/{ident:str}", where.remove_group),
    ]
    found = [where.handler([method], path, handle) for method, path, handle in routes]
    return [*found, where.handler(_METHODS, OTHERS, _nothing)]


class _Where:
    """What the routes stand on."""

    def __init__(self, instance: Instance, provisioning: Provisioning) -> None:
        self._token = instance.config.signin.scim.token.encode()
        self._base = instance.signin.base_url + BASE
        self._provisioning = provisioning

    def handler(self, methods: Iterable[str], path: str, handle: Handle) -> HTTPRouteHandler:
        verbs = [HttpMethod(method) for method in methods]

        shown = path != OTHERS
        summary = f"SCIM 2.0 (RFC 7644): {path.replace(':str', '')}"

        @route(
            BASE + path,
            http_method=verbs,
            status_code=200,
            include_in_schema=shown,
            operation_id=f"scim {verbs[0].value.lower()} {path}",
            summary=summary,
            tags=["scim"],
        )
        async def answer(request: Req) -> Response[bytes]:
            try:
                self._authorise(request)
                status, document = await handle(self._provisioning, request)
                if document is not None and "Resources" not in document:
                    document = read_shown(request.query_params).of(document)
            except ScimError as error:
                status, document = error.status, error.document()
            except ApiError as error:
                status, document = error.status, ScimError(error.status, error.message).document()
            headers = {"cache-control": "no-store"}
            if status == 401:
                headers["www-authenticate"] = "Bearer"
            if status == 201 and document is not None:
                headers["location"] = document["meta"]["location"]
            body = b"" if document is None else msgspec.json.encode(document)
            return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)

        return answer

    def _authorise(self, request: Req) -> None:
        given = request.headers.get("authorization", "")
        token = given[7:].strip().encode() if given[:7].lower() == "bearer " else b""
        if not hmac.compare_digest(token, self._token):
            raise ScimError(401, "The bearer token is not the one that is configured here.")

    async def list_users(self, at: Provisioning, request: Req) -> Answer:
        return await self._users(at, request.query_params)

    async def search_users(self, at: Provisioning, request: Req) -> Answer:
        return await self._users(at, asked_in(await _body(request)))

    async def _users(self, at: Provisioning, asked: Mapping[str, str]) -> Answer:
        query, shown = read_query(asked, _USER_FILTERS), read_shown(asked)
        total, found = await at.users(query)
        return 200, _page(total, query.start, [shown.of(self._user(one)) for one in found])

    async def add_user(self, at: Provisioning, request: Req) -> Answer:
        return 201, self._user(await at.add_user(read_user(await _body(request))))

    async def show_user(self, at: Provisioning, request: Req) -> Answer:
        return 200, self._user(await at.user(_ident(request)))

    async def replace_user(self, at: Provisioning, request: Req) -> Answer:
        return 200, self._user(await at.change_user(_ident(request), read_user(await _body(request))))

    async def patch_user(self, at: Provisioning, request: Req) -> Answer:
        changes = read_patch(await _body(request))
        before = (await at.user(_ident(request))).resource
        assert isinstance(before, User)  # noqa: S101 - `user` gives no other
        return 200, self._user(await at.change_user(_ident(request), patch_user(before, changes)))

    async def remove_user(self, at: Provisioning, request: Req) -> Answer:
        await at.remove_user(_ident(request))
        return 204, None

    async def list_groups(self, at: Provisioning, request: Req) -> Answer:
        return await self._groups(at, request.query_params)

    async def search_groups(self, at: Provisioning, request: Req) -> Answer:
        return await self._groups(at, asked_in(await _body(request)))

    async def _groups(self, at: Provisioning, asked: Mapping[str, str]) -> Answer:
        query, shown = read_query(asked, _GROUP_FILTERS), read_shown(asked)
        total, found = await at.groups(query)
        pages = await asyncio.to_thread(lambda: [shown.of(self._group(one)) for one in found])
        return 200, _page(total, query.start, pages)

    async def add_group(self, at: Provisioning, request: Req) -> Answer:
        return 201, await self._shown(await at.add_group(read_group(await _body(request))))

    async def show_group(self, at: Provisioning, request: Req) -> Answer:
        return 200, await self._shown(await at.group(_ident(request)))

    async def replace_group(self, at: Provisioning, request: Req) -> Answer:
        wanted = read_group(await _body(request))
        return 200, await self._shown(await at.change_group(_ident(request), wanted))

    async def patch_group(self, at: Provisioning, request: Req) -> Answer:
        changes = read_patch(await _body(request))
        before = (await at.group(_ident(request))).resource
        assert isinstance(before, Group)  # noqa: S101 - `group` gives no other
        wanted = await asyncio.to_thread(patch_group, before, changes)  # which may be many, of many
        after = await at.change_group(_ident(request), wanted)
        return 200, await self._shown(after)

    async def remove_group(self, at: Provisioning, request: Req) -> Answer:
        await at.remove_group(_ident(request))
        return 204, None

    def _user(self, kept: Kept) -> dict[str, Any]:
        user = kept.resource
        assert isinstance(user, User)  # noqa: S101 - the caller has asked for users
        found: dict[str, Any] = {
            "schemas": [USER_SCHEMA],
            "id": kept.id,
            "externalId": user.external_id,
            "userName": user.user_name,
            "displayName": user.display_name,
            "name": user.names,
            "emails": [msgspec.to_builtins(email) for email in user.emails],
            "groups": [
                {"value": ident, "display": name, "$ref": f"{self._base}/Groups/{ident}"}
                for ident, name in kept.groups
            ],
        }
        present = {name: value for name, value in found.items() if value}
        return present | {"active": user.active, "meta": self._meta(kept, "User")}

    async def _shown(self, kept: Kept) -> dict[str, Any]:
        """A group, made where it keeps nobody waiting: it may have very many members."""
        return await asyncio.to_thread(self._group, kept)

    def _group(self, kept: Kept) -> dict[str, Any]:
        group = kept.resource
        assert isinstance(group, Group)  # noqa: S101 - the caller has asked for groups
        found: dict[str, Any] = {
            "schemas": [GROUP_SCHEMA],
            "id": kept.id,
            "displayName": group.display_name,
            "meta": self._meta(kept, "Group"),
        }
        if group.external_id:
            found["externalId"] = group.external_id
        found["members"] = [
            {"value": ident, "$ref": f"{self._base}/Users/{ident}"} for ident in sorted(group.members)
        ]
        return found

    def _meta(self, kept: Kept, kind: str) -> dict[str, str]:
        return {
            "resourceType": kind,
            "created": _time(kept.created),
            "lastModified": _time(kept.modified),
            "location": f"{self._base}/{kind}s/{kept.id}",
        }


async def _nothing(_at: Provisioning, _request: Req) -> Answer:
    raise ScimError(404, "There is nothing here.")


async def _service_provider_config(_at: Provisioning, _request: Req) -> Answer:
    return 200, service_provider_config()


async def _resource_types(_at: Provisioning, _request: Req) -> Answer:
    return 200, _page(len(RESOURCE_TYPES), 1, list(RESOURCE_TYPES.values()))


async def _resource_type(_at: Provisioning, request: Req) -> Answer:
    return 200, _one(RESOURCE_TYPES, request)


async def _schemas(_at: Provisioning, _request: Req) -> Answer:
    return 200, _page(len(SCHEMAS), 1, list(SCHEMAS.values()))


async def _schema(_at: Provisioning, request: Req) -> Answer:
    return 200, _one(SCHEMAS, request)


def _one(known: dict[str, dict[str, Any]], request: Req) -> dict[str, Any]:
    found = known.get(str(request.path_params["name"]))
    if found is None:
        raise ScimError(404, "There is no such resource.")
    return found


async def _body(request: Req) -> object:
    body = await request.body()
    if len(body) > MAX_BODY:
        raise ScimError(413, f"The limit here is {MAX_BODY} bytes.")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScimError(400, "The body is not JSON.", "invalidSyntax") from error


def _ident(request: Req) -> str:
    return str(request.path_params["ident"])


def _page(total: int, start: int, resources: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
