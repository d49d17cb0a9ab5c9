"""The OpenAPI document and the page that shows it.

Litestar describes its own routes; the inference routes come from the same structs that parse them.
The page is plain HTML made on the server: no script, nothing from elsewhere.
"""

import html
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from regalia.api.reviews import ANSWER_PREFIX, ANSWER_SUFFIX
from regalia.api.tenancy import ERRORS, describe_operations
from regalia.gateway import ROUTES, Route

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_STATUSES = {
    "400": "The request is not valid; `param` names the field.",
    "401": "No API key, or one that is not known here.",
    "404": "No such model.",
    "413": "The body is larger than the limit.",
    "429": "A limit (`rate_limit_exceeded`) or a budget (`insufficient_quota`) is reached: `retry-after`.",
    "503": "The record can't be made durable (`audit_unavailable`), or no engine is ready.",
}


_SCIM_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["schemas", "status", "detail"],
    "properties": {
        "schemas": {"type": "array", "items": {"type": "string"}},
        "status": {"type": "string"},
        "detail": {"type": "string"},
        "scimType": {"type": "string"},
    },
}
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_CALL = {
    "description": "The call's id; its receipt is at /v1/receipts/{call}.",
    "schema": {"type": "string"},
}
_FETCH: dict[str, Any] = {
    "tags": ["reviews"],
    "operationId": "review_answer",
    "summary": "The answer to a call that was held for review, once it is released",
    "description": "For keys of the call's project. The answer is what the call would have been answered.",
    "parameters": [{"name": "review", "in": "path", "required": True, "schema": {"type": "string"}}],
    "responses": {
        "200": {
            "description": "The answer; of a call that asked for a stream, its events.",
            "headers": {"x-regalia-call": _CALL},
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        **ERRORS,
        "409": {"description": "Nobody has decided yet, or it is being answered.", "content": _ERROR_CONTENT},
        "410": {"description": "What was said was erased.", "content": _ERROR_CONTENT},
    },
}


def describe(site: Litestar) -> dict[str, Any]:
    """The whole API as an OpenAPI 3.1 document."""
    document = site.openapi_schema.to_schema()
    structs, components = msgspec.json.schema_components(
        [route.request for route in ROUTES], ref_template="#/components/schemas/{name}"
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= components | {"Error": _ERROR}
    for methods in document["paths"].values():
        for operation in methods.values():
            _describe_errors(operation)
    schemas["ScimError"] = _SCIM_ERROR
    for route, struct in zip(ROUTES, structs, strict=True):
        document["paths"][route.path] = {"post": _operation(route, struct)}
    paths, bodies = describe_operations()
    schemas |= bodies
    for path, methods in paths.items():
        document["paths"].setdefault(path, {}).update(methods)
    document["paths"][f"{ANSWER_PREFIX}{{review}}{ANSWER_SUFFIX}"] = {"post": _FETCH}
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    return document


def _describe_errors(operation: dict[str, Any]) -> None:
    """Put the errors as they really are in place of those that the framework would answer with."""
    tags = set(operation.get("tags", ()))
    responses = operation["responses"]
    for status in [status for status in responses if status >= "4"]:
        del responses[status]
    if "scim" in tags:
        content = {"application/scim+json": {"schema": {"$ref": "#/components/schemas/ScimError"}}}
        responses["default"] = {"description": "What is wrong, in SCIM's shape.", "content": content}
    elif tags & {"operations", "log", "docs"}:
        responses["default"] = {"description": "What is wrong.", "content": _ERROR_CONTENT}
    else:
        responses |= ERRORS
    if "sign-in" in tags and "text/html" in responses.get("200", {}).get("content", {}):
        page = {"text/html": {"schema": {"type": "string"}}}
        responses["default"] = {"description": "What is wrong, on a page.", "content": page}


def documentation_handlers() -> list[HTTPRouteHandler]:
    """The routes that serve the document."""
    described: list[dict[str, Any]] = []

    def document(request: Request[Any, Any, Any]) -> dict[str, Any]:
        if not described:  # made once: that takes longer than calls should wait
            described.append(describe(request.app))
        return described[0]

    @get("/openapi.json", summary="This document", tags=["docs"])
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(msgspec.json.encode(document(request)), media_type=MediaType.JSON)

    @get("/docs", media_type=MediaType.HTML, summary="This document, to be read", tags=["docs"])
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        return Response(
            page(document(request)),
            media_type=MediaType.HTML,
            headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    return [openapi, docs]


def _operation(route: Route, struct: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if "stream" in route.request.__struct_fields__:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "tags": ["inference"],
        "operationId": route.name.replace(".", "_"),
        "summary": route.summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": struct}}},
        "responses": {
            "200": {"description": "The answer.", "headers": {"x-regalia-call": _CALL}, "content": answer},
            **{
                status: {"description": text, "content": _ERROR_CONTENT} for status, text in _STATUSES.items()
            },
        },
    }


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Regalia API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
details {{ border: 1px solid #d0d0d0; border-radius: 6px; margin: .5rem 0; padding: .5rem 1rem }}
summary {{ cursor: pointer }} code {{ font-size: .95em }} .method {{ font-weight: 700; color: #0b5394 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }}
</style></head><body>
<h1>Regalia API</h1>
<p>The whole document: <a href="/openapi.json">/openapi.json</a>. Every answer carries
<code>x-regalia-call</code>; its receipt is at <code>/v1/receipts/{{call}}</code>.</p>
{operations}
</body></html>
"""


def page(document: dict[str, Any]) -> str:
    """The document as one HTML page."""
    operations = [
        _section(path, method, operation, document)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
    ]
    return _PAGE.format(operations="\n".join(operations))


def _section(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    answers = "".join(
        f"<tr><td><code>{status}</code></td><td>{html.escape(answer.get('description', ''))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details><summary><span class="method">{method.upper()}</span> <code>{html.escape(path)}</code> '
        f"{html.escape(operation.get('summary') or '')}</summary>"
        f"<p>{html.escape(operation.get('description') or '')}</p>{_fields(operation, document)}"
        f"<table><tr><th>Status</th><th>Meaning</th></tr>{answers}</table></details>"
    )


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if not content:
        return ""
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code>{' (required)' if name in required else ''}</td>"
        f"<td><code>{html.escape(_type(field))}</code></td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>Field</th><th>Type</th></tr>{rows}</table>"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " | ".join(_type(option) for option in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    bounds = [
        f"{key} {field[key]}" for key in ("minimum", "maximum", "maxLength", "maxItems") if key in field
    ]
    inner = f" of {_type(field['items'])}" if field.get("items") else ""
    return str(field.get("type", "any")) + inner + (f" ({', '.join(bounds)})" if bounds else "")
