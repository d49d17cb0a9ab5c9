"""The list objects of the API, and what all its objects share."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from regalia.identity import Principal
from regalia.identity.roles import not_found
from regalia.identity.tenants import Organisation, Project
from regalia.instance.tenancy import organisation, paging, project
from regalia.instance.tenancy.operations import operation
from regalia.instance.tenancy.paging import Asked, Paging
from regalia.instance.tenancy.tenancy import Tenancy

LENGTH = Paging(20, 100)
PAGING = ("limit", "after", "before")
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

served = partial(operation, base="/v1/organization", tag="organization", paging=LENGTH)
"""Adds an operation below /v1/organization."""


def page(objects: Sequence[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    """The page that `limit`, `after` and `before` ask for of objects with ids. Raises ApiError 400."""
    return paging.page(objects, asked, LENGTH)


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
