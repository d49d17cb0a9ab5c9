"""`/v1/regalia/…`: the operations on organisations, projects, people, roles, keys and contents, over HTTP."""

from typing import Any

import msgspec
from litestar import HttpMethod, MediaType, Request, Response, route
from litestar.handlers import HTTPRouteHandler

from regalia.api.asker import asker
from regalia.instance import Instance
from regalia.instance.tenancy.operations import OPERATIONS, Operation, decoded
from regalia.instance.tenancy.paging import Paging

_encode = msgspec.json.Encoder().encode


def tenancy_handlers(instance: Instance) -> list[HTTPRouteHandler]:
    """A handler for each operation, over one running instance."""
    return [_handler(instance, operation) for operation in OPERATIONS]


def _handler(instance: Instance, operation: Operation) -> HTTPRouteHandler:
    # Litestar keeps some names, such as `request`, for itself
    path = operation.path.replace("{", "{in_").replace("}", ":str}")

    @route(path, http_method=[HttpMethod(operation.method)], status_code=200, include_in_schema=False)
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        actor = asker(instance, request)
        body = decoded(await request.body(), operation.body) if operation.body else None
        query = {name: _given(request, name) for name in operation.query}
        within = {name: request.path_params[f"in_{name}"] for name in operation.parameters}
        answer = await operation.run(instance.tenancy, actor, query | within, body)
        headers = {"cache-control": "no-store"}  # keys and contents pass here
        return Response(_encode(answer), media_type=MediaType.JSON, headers=headers)

    return handle


def _given(request: Request[Any, Any, Any], name: str) -> str:
    """A parameter of the query; all values with commas between if it is given several times, as lists are."""
    asked = request.query_params
    return ",".join([*asked.getall(name, []), *asked.getall(f"{name}[]", [])])


def describe_operations() -> tuple[dict[str, Any], dict[str, Any]]:
    """The operations as paths of the OpenAPI document, and the schemas of their bodies."""
    kinds = list({operation.body for operation in OPERATIONS if operation.body})
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        described: dict[str, Any] = {
            "tags": [operation.tag],
            "summary": operation.summary,
            "parameters": [
                *(_parameter(name, "path") for name in operation.parameters),
                *(_parameter(name, "query", operation.paging) for name in operation.query),
            ],
            "responses": {"200": {"description": "Done.", "content": {"application/json": {}}}, **ERRORS},
        }
        if operation.body:
            content = {"application/json": {"schema": schema_of[operation.body]}}
            described["requestBody"] = {"required": True, "content": content}
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return paths, components


ERRORS: dict[str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, text in {
        "400": "The request is not valid; `param` names the field.",
        "401": "No API key, or one that is not known here.",
        "403": "The key's roles do not permit it.",
        "404": "There is no such thing, or it is none of yours.",
        "409": "It can't be now.",
        "413": "The body is larger than the limit.",
        "503": "The record can't be made durable, so nothing is done.",
    }.items()
}


def _parameter(name: str, where: str, paging: Paging | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    described: dict[str, Any] = {"name": name, "in": where, "required": where == "path", "schema": schema}
    if name == "limit" and paging is not None:
        schema |= {"type": "integer", "minimum": 1, "maximum": paging.most, "default": paging.usual}
    if name == "after":
        described["description"] = "The `last_id` of the page before, where its `has_more` is true."
    return described
