"""Who makes a request, for the routes that are not inference."""

from typing import Any

from litestar import Request

from regalia.identity import Principal
from regalia.instance import Instance


def asker(instance: Instance, request: Request[Any, Any, Any]) -> Principal:
    """The principal behind a request's `Authorization`. Raises ApiError 401, 403, 503."""
    header = request.headers.get("authorization")
    peer = request.client.host if request.client else ""
    return instance.keys.principal(header.encode("latin-1") if header else None, peer)
