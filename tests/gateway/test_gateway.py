"""A call through the gateway over the real ledger: what is recorded of an answer, what is refused unasked."""

import asyncio
import json

import pytest

from gateway.gateway_kit import (
    ANSWER,
    BODY,
    STREAM,
    House,
    ScriptedEngine,
    answer,
)
from ledger_kit import Site
from regalia.engines import EngineIdentity, EngineUnavailable
from regalia.errors import ApiError
from regalia_verify.receipt import verify_receipt


async def test_an_answer_is_recorded_with_all_that_its_receipt_binds(house: House) -> None:
    client = await answer(house.gateway(ScriptedEngine(ANSWER)))
    assert (client.status, client.sent, client.ended) == (200, ANSWER, True)
    outcome = await house.outcome()
    assert outcome["kind"] == "call.answered"
    assert outcome["usage"] == {"input": 3, "output": 2, "total": 5}
    assert outcome["finish"] == ["stop"]
    assert isinstance(outcome["sampling"]["seed"], int)
    receipt = await house.ledger.receipt(outcome["call"], "default")
    verified = verify_receipt(receipt, Site(house.data_dir).policy, BODY, ANSWER)
    assert set(verified.parts.values()) == {"matches"}


async def test_the_clients_own_seed_is_the_seed_on_record(house: House) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"seed":7,"temperature":0.5}'
    await answer(house.gateway(ScriptedEngine(ANSWER)), body)
    assert (await house.outcome())["sampling"] == {"seed": 7, "temperature": "0.5"}


async def test_a_stream_ends_with_done_only_after_its_outcome_is_on_record(house: House) -> None:
    async def look() -> None:
        kinds = [found["kind"] for found in await house.records()]
        assert kinds[-1] == "call.admitted", "nothing is answered before the outcome"

    client = await answer(house.gateway(ScriptedEngine(b'{"a":1}', look, b'{"a":2}')), STREAM)
    assert client.sent == b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n'
    outcome = await house.outcome()
    receipt = await house.ledger.receipt(outcome["call"], "default")
    events = client.sent.removesuffix(b"data: [DONE]\n\n")
    assert verify_receipt(receipt, Site(house.data_dir).policy, STREAM, events).parts["response"] == "matches"


async def test_an_engine_that_ends_after_it_was_chosen_is_503_off_the_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine(ANSWER)

    def gone(model: str) -> EngineIdentity:
        raise EngineUnavailable("it is not running")

    monkeypatch.setattr(engine, "identity", gone)
    size = house.ledger.size
    with pytest.raises(ApiError) as raised:
        await answer(house.gateway(engine))
    assert (raised.value.status, raised.value.code) == (503, "engine_unavailable")
    assert house.ledger.size == size


async def test_a_model_that_nothing_serves_is_404_and_nothing_is_kept_of_its_name(house: House) -> None:
    gateway = house.gateway(ScriptedEngine(ANSWER))
    size = house.ledger.size
    for number in range(100):
        body = json.dumps({"model": f"unknown-{number}", "messages": [{"role": "user", "content": "hi"}]})
        with pytest.raises(ApiError) as raised:
            await answer(gateway, body.encode())
        assert (raised.value.status, raised.value.code) == (404, "model_not_found")
    assert "unknown" not in repr(house.metering.__dict__.values())
    assert (house.metering._plans, house.ledger.size) == ({}, size)
    await answer(gateway)
    assert len(house.metering._plans) == 1


async def test_more_calls_than_allowed_are_refused_off_the_record(house: House) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def generate() -> None:
        asked.set()
        await go_on.wait()

    gateway = house.gateway(ScriptedEngine(generate, ANSWER), concurrent_calls=1)
    first = asyncio.create_task(answer(gateway))
    await asked.wait()
    size = house.ledger.size
    with pytest.raises(ApiError) as raised:
        await answer(gateway)
    assert raised.value.code == "overloaded"
    assert house.ledger.size == size
    go_on.set()
    await first


async def test_an_answer_beyond_the_limit_breaks_off(house: House) -> None:
    with pytest.raises(ApiError) as raised:
        await answer(house.gateway(ScriptedEngine(b"x" * 20_000)), STREAM)
    assert raised.value.code == "engine_failed"
