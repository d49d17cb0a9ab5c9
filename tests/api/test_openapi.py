"""/openapi.json describes every route that is served, each with the shape of its errors."""

import asyncio
import json
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from command_line import command
from regalia.api.openapi import describe, page
from regalia.api.scim import BASE, OTHERS
from regalia.api.site import build_site
from regalia.config import Config, IdentityProvider, Scim, SignIn
from regalia.gateway import ROUTES
from regalia.instance import running

TOKEN = "a token of the tests that is long enough"
NOT_DESCRIBED = {f"{BASE}{OTHERS.replace(':path', '')}"}
"""Whatever is not there below /scim/v2."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[tuple[str, str]], dict[str, Any]]:
    """The routes of an instance with everything that adds some, as (method, path), and the document."""
    folder = tmp_path_factory.mktemp("openapi") / "d"
    assert command("init", "--data-dir", str(folder)).code == 0
    provider = IdentityProvider("beta", "http://127.0.0.1:9", "client")
    signin = SignIn(public_url="http://127.0.0.1:1", providers=(provider,), scim=Scim(TOKEN, "beta"))

    async def look() -> tuple[set[tuple[str, str]], dict[str, Any]]:
        async with running(Config(data_dir=folder, embedded=False, signin=signin)) as instance:
            site = build_site(instance)
            routes = [route for route in site.routes if isinstance(route, HTTPRoute)]
            found = {(method, route.path_format) for route in routes for method in route.methods}
            return {(method, path) for method, path in found if method != "OPTIONS"}, describe(site)

    return asyncio.run(look())


def test_every_route_is_described_with_the_shape_of_its_errors(
    served: tuple[set[tuple[str, str]], dict[str, Any]],
) -> None:
    routes, document = served
    inference = {("POST", route.path) for route in ROUTES}
    routes = routes | inference | {("POST", "/v1/regalia/reviews/{review}/answer")}
    told = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }

    def plain(path: str) -> str:  # the framework keeps some names for itself
        return path.replace("{in_", "{")

    wanted = {(method, plain(path)) for method, path in routes if path not in NOT_DESCRIBED}
    assert wanted == set(told)
    shapes = {"#/components/schemas/Error", "#/components/schemas/ScimError"}
    for where, operation in told.items():
        errors = [
            reply for status, reply in operation["responses"].items() if status >= "4" and "content" in reply
        ]
        named = {body["schema"].get("$ref") for reply in errors for body in reply["content"].values()}
        assert named & shapes or "text/html" in errors[0]["content"], where
        assert operation["summary"], where
    assert shapes <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert page(json.loads(json.dumps(document)))


def test_lists_say_how_long_their_pages_are(
    served: tuple[set[tuple[str, str]], dict[str, Any]],
) -> None:
    _, document = served
    bounds = {}
    for path, methods in document["paths"].items():
        for one in methods.get("get", {}).get("parameters", []):
            if one["name"] == "limit":
                bounds[path] = one["schema"]["default"], one["schema"]["maximum"]
    ours = {path: bound for path, bound in bounds.items() if path.startswith("/v1/regalia/")}
    assert set(ours.values()) == {(100, 1000)}
    lists = "organisations projects users keys prices budgets limits usage reviews holds accounts policies"
    others = ("users/{user}/roles", "content/requests", "content/reads", "content/erasures", "retention")
    assert set(ours) == {f"/v1/regalia/{name}" for name in (*lists.split(), *others)}
    assert bounds["/v1/organization/projects"] == (20, 100)
    assert bounds["/v1/organization/costs"] == (7, 366)
