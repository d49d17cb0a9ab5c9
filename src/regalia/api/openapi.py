"""The OpenAPI document and the page that shows it.

Litestar describes its own routes; the inference routes come from the same structs that parse them.
The page is plain HTML made on the server: no script, nothing from elsewhere.
"""

import html
from typing import Any

import msgspec
from litestar import Litestar

from regalia.api.tenancy import describe_operations
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


def describe(site: Litestar) -> dict[str, Any]:
    """The whole API as an OpenAPI 3.1 document."""
    document = site.openapi_schema.to_schema()
    structs, components = msgspec.json.schema_components(
        [route.request for route in ROUTES], ref_template="#/components/schemas/{name}"
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= components | {"Error": _ERROR}
    for route, struct in zip(ROUTES, structs, strict=True):
        document["paths"][route.path] = {"post": _operation(route, struct)}
    paths, bodies = describe_operations()
    schemas |= bodies
    for path, methods in paths.items():
        document["paths"].setdefault(path, {}).update(methods)
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    return document


def _operation(route: Route, struct: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    header = {
        "description": "The call's id; its receipt is at /v1/receipts/{call}.",
        "schema": {"type": "string"},
    }
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if "stream" in route.request.__struct_fields__:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "tags": ["inference"],
        "operationId": route.name.replace(".", "_"),
        "summary": route.summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": struct}}},
        "responses": {
            "200": {"description": "The answer.", "headers": {"x-regalia-call": header}, "content": answer},
            **{status: {"description": text, "content": error} for status, text in _STATUSES.items()},
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
