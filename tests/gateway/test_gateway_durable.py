"""Nothing is answered off the record: what the gateway does when the log can't record, or can't yet."""

import asyncio
import time
from typing import Any

import pytest

from gateway.gateway_kit import (
    ANSWER,
    BODY,
    CHAT,
    PRINCIPAL,
    STREAM,
    House,
    ListeningClient,
    ScriptedEngine,
    answer,
)
from regalia.engines import (
    Result,
)
from regalia.errors import AuditUnavailable
from regalia.gateway.call import Call
from regalia.ledger import LedgerInvariantError


async def test_nothing_is_asked_of_an_engine_when_the_log_cannot_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def note() -> None:
        asked.append(1)

    def refuse(entry: object) -> None:
        raise AuditUnavailable("disk full")

    monkeypatch.setattr(house.ledger, "append", refuse)
    with pytest.raises(AuditUnavailable):
        await answer(house.gateway(ScriptedEngine(note, ANSWER)))
    assert not asked


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_nothing_leaves_before_the_admission_is_durable_though_the_engine_works_already(
    house: House, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    append, client = house.ledger.append, ListeningClient()
    said, durable = asyncio.Event(), asyncio.Event()

    async def after_it_is_durable(entry: Any) -> int:
        await durable.wait()
        return await append(entry)

    async def note() -> None:
        said.set()

    with monkeypatch.context() as slowly:
        slowly.setattr(
            house.ledger, "append", lambda entry: asyncio.ensure_future(after_it_is_durable(entry))
        )
        engine = ScriptedEngine(note, ANSWER)
        call = asyncio.create_task(house.gateway(engine).answer(CHAT, PRINCIPAL, body, client))
        if body == BODY:
            await said.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (client.status, client.sent, call.done()) == (0, b"", False)
        durable.set()
        await call
    assert (client.status, client.ended) == (200, True)
    kinds = [found["kind"] for found in await house.records()]
    assert kinds[-2:] == ["call.admitted", "call.answered"]


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("at", ["while the engine works", "when the outcome is on its way"])
async def test_what_was_not_admitted_on_record_is_not_answered(
    house: House, monkeypatch: pytest.MonkeyPatch, body: bytes, at: str
) -> None:
    append, client = house.ledger.append, ListeningClient()
    admission: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def refuse(entry: Any) -> "asyncio.Future[int]":
        if entry.phase == "admitted":
            return admission
        fail()
        return append(entry)  # which the ledger refuses: the call was never admitted

    def fail() -> None:
        if not admission.done():
            admission.set_exception(AuditUnavailable("disk full"))

    async def meanwhile() -> None:
        if at == "while the engine works":
            fail()

    monkeypatch.setattr(house.ledger, "append", refuse)
    call = asyncio.create_task(
        house.gateway(ScriptedEngine(meanwhile, ANSWER)).answer(CHAT, PRINCIPAL, body, client)
    )
    if body == STREAM:  # its start waits for the record
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, fail)
    with pytest.raises(AuditUnavailable):
        await call
    assert (client.status, client.sent) == (0, b"")
    assert house.metering.doubts == {}
    monkeypatch.undo()
    await answer(house.gateway(ScriptedEngine(ANSWER)))
    assert [found["kind"] for found in await house.records()][-2:] == ["call.admitted", "call.answered"]


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_an_answer_whose_outcome_cannot_be_recorded_is_not_given(
    house: House, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    append = house.ledger.append
    client = ListeningClient()

    def refuse_outcomes(entry: Any) -> "asyncio.Future[int]":
        if entry.phase == "outcome":
            raise AuditUnavailable("disk full")
        return append(entry)

    monkeypatch.setattr(house.ledger, "append", refuse_outcomes)
    with pytest.raises(AuditUnavailable):
        await house.gateway(ScriptedEngine(ANSWER)).answer(CHAT, PRINCIPAL, body, client)
    assert not client.ended
    assert b"[DONE]" not in client.sent


@pytest.mark.parametrize("absurd", [2**62 + 1, 2**70], ids=["beyond the database", "beyond JSON"])
async def test_a_call_whose_outcome_no_record_can_hold_is_closed(house: House, absurd: int) -> None:
    client = ListeningClient()
    engine = ScriptedEngine(ANSWER, result=Result(input=absurd))
    with pytest.raises((LedgerInvariantError, OverflowError)):
        await house.gateway(engine).answer(CHAT, PRINCIPAL, BODY, client)
    assert client.status == 0
    deadline = time.monotonic() + 60
    while (await house.records())[-1]["kind"] != "call.aborted":
        assert time.monotonic() < deadline, "the call stays open"
        await asyncio.sleep(0.05)
    assert (await answer(house.gateway(ScriptedEngine(ANSWER)))).status == 200


async def test_a_call_whose_outcome_cannot_be_made_is_closed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ListeningClient()
    with monkeypatch.context() as broken:
        broken.setattr(Call, "outcome", lambda *_: 1 / 0)
        with pytest.raises(LedgerInvariantError, match="ZeroDivisionError"):
            await house.gateway(ScriptedEngine(ANSWER)).answer(CHAT, PRINCIPAL, BODY, client)
    assert (client.status, client.sent) == (0, b"")
    deadline = time.monotonic() + 60
    while (await house.records())[-1]["kind"] != "call.aborted":
        assert time.monotonic() < deadline, "the call stays open"
        await asyncio.sleep(0.05)


async def test_a_call_whose_admission_cannot_be_made_is_not_answered_and_holds_up_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission, made = Call.admission, []

    def fails_once(call: Call) -> Any:
        made.append(call)
        return admission(call) if len(made) > 1 else 1 / 0

    monkeypatch.setattr(Call, "admission", fails_once)
    gateway = house.gateway(ScriptedEngine(ANSWER))
    lost, answered = await asyncio.gather(answer(gateway), answer(gateway), return_exceptions=True)
    assert isinstance(lost, LedgerInvariantError)
    assert isinstance(answered, ListeningClient)
    assert [found["kind"] for found in await house.records()][-2:] == ["call.admitted", "call.answered"]
