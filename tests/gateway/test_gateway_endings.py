"""A call that ends without its answer: the engine fails, the client leaves, the server stops; on record."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.gateway_kit import (
    BODY,
    CHAT,
    PRINCIPAL,
    STREAM,
    House,
    ListeningClient,
    ScriptedEngine,
    ScriptedStream,
    answer,
)
from regalia.engines import (
    EngineBroken,
    EngineReported,
    EngineTimeout,
    EngineUnavailable,
)
from regalia.errors import ApiError
from regalia.gateway import CallTimeout, ClientGone


@pytest.mark.parametrize(
    ("problem", "status", "code", "kind"),
    [
        (EngineBroken("it died"), 502, "engine_failed", "call.failed"),
        (EngineTimeout("silence"), 504, "engine_timeout", "call.failed"),
        (EngineUnavailable("no socket"), 503, "engine_unavailable", "call.failed"),
        (CallTimeout(), 504, "call_timeout", "call.failed"),
        (ValueError("a bug"), 500, "internal_error", "call.failed"),
    ],
)
@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_failing_engine_is_an_error_and_on_record(
    house: House, problem: Exception, status: int, code: str, kind: str, body: bytes
) -> None:
    client = ListeningClient()
    with pytest.raises(ApiError) as raised:
        await house.gateway(ScriptedEngine(b'{"a":1}', problem)).answer(CHAT, PRINCIPAL, body, client)
    assert (raised.value.status, raised.value.code) == (status, code)
    assert b"[DONE]" not in client.sent
    outcome = await house.outcome()
    assert (outcome["kind"], outcome["status"], outcome["error"]) == (kind, status, code)
    assert raised.value.call == outcome["call"]
    assert ("response" in outcome) == bool(client.sent)


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_what_an_engine_refuses_is_refused_and_on_record(house: House, body: bytes) -> None:
    refused = json.dumps({"error": {"message": "too long", "type": "exceed_context_size_error", "code": 400}})
    engine = ScriptedEngine(refused.encode(), status=400)
    ScriptedStream.body = refused.encode()
    with pytest.raises(ApiError) as raised:
        await answer(house.gateway(engine), body)
    assert (raised.value.status, raised.value.code) == (400, "context_length_exceeded")
    assert (await house.outcome())["kind"] == "call.refused"


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_client_that_leaves_is_cancelled_and_on_record(house: House, body: bytes) -> None:
    client = ListeningClient()
    client.watched = ClientGone()
    await house.gateway(ScriptedEngine(b'{"a":1}')).answer(CHAT, PRINCIPAL, body, client)
    assert not client.ended
    outcome = await house.outcome()
    assert (outcome["kind"], outcome["status"]) == ("call.cancelled", 499)
    assert "response" in outcome, "what was generated until then is bound"


async def test_a_stopping_server_records_the_calls_it_cuts(house: House) -> None:
    asked = asyncio.Event()

    async def generate() -> None:
        asked.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(answer(house.gateway(ScriptedEngine(generate))))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await house.outcome())["error"] == "server_stopped"


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ((json.dumps({"error": {"message": "I heard Tanzanite-9"}}).encode(),), 500, "engine_failed"),
        ((json.dumps({"error": {"message": "Wrong key upstream-key-4711"}}).encode(),), 401, "engine_failed"),
        ((EngineReported("you said Tanzanite-9"),), 200, "engine_failed"),
        (
            (json.dumps({"error": {"message": "Tanzanite-9", "code": "Tanzanite-9 is odd"}}).encode(),),
            400,
            "invalid_value",
        ),
    ],
)
async def test_an_engines_own_words_reach_no_log_and_no_record_and_never_tell_its_key(
    house: House,
    body: bytes,
    script: tuple[Any, ...],
    status: int,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if isinstance(script[0], bytes):
        monkeypatch.setattr(ScriptedStream, "body", script[0])
    client = ListeningClient()
    with capture_logs() as logs, pytest.raises(ApiError) as raised:
        await house.gateway(ScriptedEngine(*script, status=status)).answer(CHAT, PRINCIPAL, body, client)
    assert raised.value.code == code
    outcome = await house.outcome()
    assert outcome["error"] == code
    assert "Tanzanite" not in json.dumps([logs, outcome])
    assert "upstream-key" not in json.dumps([logs, outcome, raised.value.message])
    assert ("Tanzanite-9" in raised.value.message) is (status != 401), "the caller may know what they asked"
