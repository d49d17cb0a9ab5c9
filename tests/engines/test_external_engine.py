"""An OpenAI-compatible server that somebody else runs: asked, probed, and never trusted too far."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from live_engines import FakeServer, until
from regalia.engines import EngineBroken, EngineUnavailable, OpenAIEngine, OpenAIEngineSettings
from serving import FakeEngine

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}


def external(base_url: str) -> OpenAIEngine:
    return OpenAIEngine(OpenAIEngineSettings("up", base_url, ("fake",), "key", probe_s=0.05))


async def test_a_whole_reply_and_a_stream(fake_engine: FakeEngine) -> None:
    engine = external(f"{fake_engine.url}/v1")
    await engine.start()
    assert engine.ready
    reply, result = await engine.ask("chat.completions", CHAT)
    assert reply.status == 200
    assert (result.input, result.output, result.finish, result.tokens) == (5, 7, ("stop",), None)
    async with engine.stream("chat.completions", {**CHAT, "stream": True}) as stream:
        found = [data async for come in stream for _, data in come]
    assert stream.finished
    assert stream.result == result
    assert all(b"usage" not in data for data in found), "a usage chunk that was not asked for"
    identity = engine.identity("fake")
    assert (identity.digest, identity.model_digest, identity.isolation) == ("unknown", "unknown", "external")
    await engine.stop(1)


async def test_a_stream_that_breaks_off_is_broken_not_finished(fake_engine: FakeEngine) -> None:
    engine = external(f"{fake_engine.url}/v1")
    await engine.start()
    found = []
    with pytest.raises(EngineBroken):
        async with engine.stream(
            "chat.completions", {**CHAT, "stream": True, "fake": {"die_after": 3}}
        ) as stream:
            async for come in stream:
                found += [data for _, data in come]
    assert len(found) == 3
    await engine.stop(1)


async def test_its_own_error_goes_on_with_its_status(fake_engine: FakeEngine) -> None:
    engine = external(f"{fake_engine.url}/v1")
    await engine.start()
    document = {**CHAT, "fake": {"status": 429}}
    reply, _ = await engine.ask("chat.completions", document)
    assert reply.status == 429
    async with engine.stream("chat.completions", {**document, "stream": True}) as stream:
        assert stream.status == 429
        assert json.loads(stream.body)["error"]["message"] == "as asked"
    await engine.stop(1)


@pytest.mark.parametrize(
    ("owners", "configured", "asked"),
    [
        (["vllm"], None, True),
        (["sglang", "vllm"], None, True),
        (["vllm", "somebody"], None, False),
        ([], None, False),
        (["vllm"], False, False),
        (["somebody"], True, True),
    ],
)
async def test_counts_with_every_chunk_are_asked_of_servers_that_know_how(
    tmp_path: Path, owners: list[str], configured: bool | None, asked: bool
) -> None:
    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "fake", "owned_by": owner} for owner in owners]})

    url = f"unix:{tmp_path}/engine.sock"
    async with FakeServer(models, tmp_path / "engine.sock"):
        engine = OpenAIEngine(OpenAIEngineSettings("up", url, ("fake",), continuous_usage=configured))
        await engine.start()
        sent = json.loads(engine.adapter.prepare("chat.completions", {**CHAT, "stream": True}))
        assert ("continuous_usage_stats" in sent["stream_options"]) == asked
        await engine.stop(1)


async def test_it_becomes_ready_when_it_answers_and_unready_when_it_does_not(tmp_path: Path) -> None:
    async def models(request: web.Request) -> web.Response:
        assert request.path == "/v1/models"
        assert request.headers["Authorization"] == "Bearer key"
        return web.json_response({"data": []})

    engine = external(f"unix:{tmp_path}/engine.sock")
    with pytest.raises(EngineUnavailable):
        await engine.start()
    assert not engine.ready
    async with FakeServer(models, tmp_path / "engine.sock"):
        await until(lambda: engine.ready)
    await until(lambda: not engine.ready)
    assert engine.problem
    await engine.stop(0)


@pytest.mark.parametrize(
    ("base", "path"),
    [("", "/chat/completions"), ("/v1", "/v1/chat/completions"), ("/x/v1/", "/x/v1/chat/completions")],
)
async def test_the_prefix_of_the_base_url_is_kept(port: int, base: str, path: str) -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"choices": []})

    async with FakeServer(note, port):
        engine = external(f"http://127.0.0.1:{port}{base}")
        await engine.start()
        await engine.ask("chat.completions", CHAT)
        await engine.stop(0)
    assert path in seen


async def test_stopping_waits_for_what_is_under_way(fake_engine: FakeEngine) -> None:
    engine = external(f"{fake_engine.url}/v1")
    await engine.start()
    asked = asyncio.create_task(engine.ask("chat.completions", {**CHAT, "fake": {"delay_ms": 300}}))
    await until(lambda: engine.in_flight == 1)
    await engine.stop(120)
    reply, _ = await asked
    assert reply.status == 200
