"""The list objects of the API, and what all its objects share."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from regalia.errors import ApiError
from regalia.identity import Principal
from regalia.identity.roles import not_found
from regalia.identity.tenants import Organisation, Project
from regalia.instance.tenancy import organisation, project
from regalia.instance.tenancy.operations import Asked, operation
from regalia.instance.tenancy.tenancy import Tenancy

MOST = 100
USUAL = 20
PAGING = ("limit", "after", "before")
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

served = partial(operation, base="/v1/organization", tag="organization")
"""Adds an operation below /v1/organization."""


def page(objects: Sequence[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    """The page that `limit`, `after` and `before` ask for of objects with ids. Raises ApiError 400."""
    idents = [one["id"] for one in objects]
    first, last = 0, len(objects)
    try:
        if asked.get("after"):
            first = idents.index(asked["after"]) + 1
        if asked.get("before"):
            last = idents.index(asked["before"])
    except ValueError as error:
        raise ApiError(400, "invalid_value", "`after` and `before` name an object of the list.") from error
    return listed(objects[first:last], limit_of(asked))


def listed(objects: Sequence[dict[str, Any]], limit: int, *, more: bool = False) -> dict[str, Any]:
    """A list object of the first `limit` objects; `more` says that there are others anyway."""
    shown = list(objects[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": more or len(objects) > limit,
    }


def limit_of(asked: Asked, usual: int = USUAL, most: int = MOST) -> int:
    """The page's length. Raises ApiError 400."""
    text = asked.get("limit") or str(usual)
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= most:
        raise ApiError(400, "invalid_value", f"`limit` is a number from 1 to {most}.", param="limit")
    return int(text)


def home(at: Tenancy, actor: Principal) -> Organisation:
    """The organisation of the key. Raises ApiError 404."""
    return organisation(at, actor, actor.organisation or "default")


def own_project(at: Tenancy, actor: Principal, ident: str) -> Project:
    """A project of the key's organisation. Raises ApiError 404."""
    found = project(at, actor, ident)
    if found.organisation != home(at, actor).id:
        raise not_found("project", ident)
    return found


def seconds(ms: int | None) -> int | None:
    """Milliseconds as the seconds of this API."""
    return None if ms is None else ms // 1000


def deleted(kind: str, ident: str) -> dict[str, Any]:
    """What says that an object is gone."""
    return {"object": f"{kind}.deleted", "id": ident, "deleted": True}
