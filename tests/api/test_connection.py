"""One exchange over ASGI: bodies are bounded, a client that leaves is noticed, time is bounded."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from regalia.api.connection import Connection
from regalia.config import Limits
from regalia.errors import ApiError
from regalia.gateway import CallTimeout, ClientGone

LIMITS = Limits(body_bytes=100, body_seconds=0.3, call_seconds=0.4)
PATIENT = Limits(call_seconds=60)
GONE: dict[str, Any] = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def connection(
    *messages: dict[str, Any], limits: Limits = LIMITS
) -> tuple[Connection, list[MutableMapping[str, Any]]]:
    waiting = list(messages)
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    return Connection(receive, send, limits), sent


async def test_a_body_in_parts_is_one_body() -> None:
    found, _ = connection(part(b"a", True), part(b"b", True), part(b"c"))
    assert await found.body() == b"abc"


@pytest.mark.parametrize("messages", [[part(b"x" * 101)], [part(b"x" * 60, True), part(b"x" * 60, True)]])
async def test_a_body_over_the_limit_is_413(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as raised:
        await connection(*messages)[0].body()
    assert raised.value.status == 413


async def test_a_body_that_dribbles_is_408() -> None:
    with pytest.raises(ApiError) as raised:
        await connection(part(b"x", True))[0].body()
    assert raised.value.status == 408


async def test_a_client_that_leaves_while_it_sends_is_gone() -> None:
    with pytest.raises(ClientGone):
        await connection(part(b"x", True), GONE)[0].body()


async def test_work_under_watch_is_cancelled_when_the_client_leaves() -> None:
    found, _ = connection(GONE, limits=PATIENT)
    with pytest.raises(ClientGone), found.watch():
        await asyncio.sleep(60)


async def test_work_under_watch_is_cancelled_when_its_time_is_over() -> None:
    found, _ = connection()
    with pytest.raises(CallTimeout), found.watch():
        await asyncio.sleep(60)


async def test_a_watch_that_saw_nothing_leaves_nothing_behind() -> None:
    found, _ = connection(limits=Limits(call_seconds=2))
    before = len(asyncio.all_tasks())
    with found.watch():
        await asyncio.sleep(0.1)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    await asyncio.sleep(2.1)  # the call's time passes, and nobody is cancelled any more


async def test_a_foreign_cancellation_stays_one() -> None:
    found, _ = connection(limits=PATIENT)
    watched = asyncio.Event()

    async def work() -> None:
        with found.watch():
            await asyncio.sleep(0.1)  # the watch is on its connection by then
            watched.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await watched.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_before_and_within_a_stream_has_the_apis_shape() -> None:
    found, sent = connection()
    error = ApiError(503, "audit_unavailable", "no", retry_after=1)
    error.call = "call_1"
    await found.fail(error)
    assert sent[0]["status"] == 503
    assert (b"x-regalia-call", b"call_1") in sent[0]["headers"]
    assert (b"retry-after", b"1") in sent[0]["headers"]

    found, sent = connection()
    await found.start("call_1", "text/event-stream")
    await found.fail(error)
    assert sent[-1]["body"] == b"data: " + error.body() + b"\n\n"
    assert not sent[-1]["more_body"]
