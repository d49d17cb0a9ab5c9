"""A provider on the network: keys rotate at any time, nobody makes us hammer it, nothing else is asked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from ports import free_port
from regalia.config import IdentityProvider
from regalia.identity.signin.discovery import read_metadata
from regalia.identity.signin.errors import ProviderUnusable
from regalia.identity.signin.issuer import FRESH_S, ROTATION_S, STALE_S, Issuer
from signin.conftest import ACCOUNTS
from signin.providing import Provider, new_key

Pretended = tuple[IdentityProvider, dict[str, int], dict[str, bytes]]


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_keys_of_a_real_provider_may_rotate(oidc_node: tuple[Path, Path]) -> None:
    node, folder = oidc_node
    provider = Provider(node, folder, "gamma", "http://127.0.0.1:1/callback", ACCOUNTS)
    clock = Clock()
    issuer = Issuer(IdentityProvider("gamma", provider.issuer, "regalia"), clock)
    try:
        with provider.running():
            assert set(await issuer.keys("first")) == {"first"}
        clock.now += ROTATION_S
        provider.keys = [new_key("second"), new_key("first")]
        with provider.running():
            assert set(await issuer.keys("second")) == {"first", "second"}
        assert set(await issuer.keys("second")) == {"first", "second"}  # the provider is gone
    finally:
        await issuer.close()


@asynccontextmanager
async def pretended() -> AsyncIterator[Pretended]:
    """A provider that answers what a test wants, and counts."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    document = {
        "issuer": origin,
        "authorization_endpoint": f"{origin}/auth",
        "token_endpoint": f"{origin}/token",
        "jwks_uri": f"{origin}/jwks",
    }
    keys = {"keys": [new_key("k1").as_dict(private=False)]}
    answers = {
        "/.well-known/openid-configuration": json.dumps(document).encode(),
        "/jwks": json.dumps(keys).encode(),
    }
    counts: dict[str, int] = {}

    async def answer(request: web.Request) -> web.Response:
        counts[request.path] = counts.get(request.path, 0) + 1
        body = answers.get(request.path)
        return web.Response(body=body, status=200 if body is not None else 500)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield IdentityProvider("pretended", origin, "regalia"), counts, answers
    finally:
        await runner.cleanup()


async def test_unknown_keys_are_asked_for_once_in_a_while() -> None:
    async with pretended() as (provider, counts, _):
        clock = Clock()
        issuer = Issuer(provider, clock)
        for number in range(50):
            assert set(await issuer.keys(f"made-up-{number}")) == {"k1"}
        assert counts["/jwks"] == 1
        clock.now += ROTATION_S
        for number in range(50):
            await issuer.keys(f"made-up-{number}")
        assert counts["/jwks"] == 2
        assert counts["/.well-known/openid-configuration"] == 1
        await issuer.close()


async def test_what_is_known_stays_good_for_a_day_without_the_provider() -> None:
    async with pretended() as (provider, counts, answers):
        clock = Clock()
        issuer = Issuer(provider, clock)
        await issuer.keys("k1")
        answers.clear()
        clock.now += FRESH_S + 1
        before = sum(counts.values())
        for _ in range(20):  # no call waits for a provider that was just tried
            assert set(await issuer.keys("k1")) == {"k1"}
        assert sum(counts.values()) <= before + 2
        clock.now += STALE_S
        with pytest.raises(ProviderUnusable):
            await issuer.keys("k1")
        await issuer.close()


async def test_a_provider_that_answers_too_much_is_refused() -> None:
    async with pretended() as (provider, _, answers):
        issuer = Issuer(provider, Clock())
        answers["/.well-known/openid-configuration"] = b"x" * (1 << 20)
        with pytest.raises(ProviderUnusable, match="more than"):
            await issuer.metadata()
        await issuer.close()


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://login.example/"},
        {"issuer": "https://evil.example"},
        {"token_endpoint": "https://evil.example/token"},
        {"jwks_uri": "https://169.254.169.254/keys"},
        {"jwks_uri": "http://login.example/keys"},
        {"jwks_uri": "https://login.example@evil.example/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "https://evil.example/out"},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint": None},
    ],
)
def test_a_document_that_leads_elsewhere_is_not_believed(change: dict[str, object]) -> None:
    provider = IdentityProvider("p", "https://login.example", "regalia", hosts=["keys.example"])
    document = {
        "issuer": "https://login.example",
        "authorization_endpoint": "https://login.example/auth",
        "token_endpoint": "https://login.example/token",
        "jwks_uri": "https://keys.example/keys",
    }
    assert read_metadata(provider, json.dumps(document).encode()).jwks_uri == "https://keys.example/keys"
    with pytest.raises(ProviderUnusable):
        read_metadata(provider, json.dumps(document | change).encode())
