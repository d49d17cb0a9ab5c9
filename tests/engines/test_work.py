"""What a request has made its engine do, however it ended: told by the engine, or assumed and marked so."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from live_engines import FakeServer, until
from regalia.engines import (
    Endpoint,
    EngineBroken,
    EngineClient,
    EngineReported,
    EngineTimeout,
    EngineUnavailable,
    OpenAIAdapter,
    Result,
    Timeouts,
    Work,
)
from regalia.engines.asking import Asking
from regalia.engines.llama_slots import Looks, far, holds
from regalia.engines.pace import FIRST_GUESS, Pace, request_tokens
from regalia.engines.work import Followed

encode = msgspec.json.encode
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**CHAT, "stream": True}


class Upstream(Asking):
    """An engine of any kind, at the end of a socket. Asked how far it is, it says what it is `told` to."""

    name = "upstream"

    def __init__(self, socket: Path, told: Result | None = None, patience: float = 60) -> None:
        self.adapter = OpenAIAdapter()
        self.told = told
        self.asked_while_open: list[bool] = []
        self.open = 0
        self._client = EngineClient(Endpoint(f"unix:{socket}"), Timeouts(60, patience, 60, 200))

    def follow(self, route: str, document: dict[str, Any]) -> Any:
        async def count() -> Result | None:
            self.asked_while_open.append(self.open > 0)
            return self.told

        return Followed(count=count)


@pytest.mark.parametrize("told", [Result(input=9, output=4), None])
async def test_an_engine_is_asked_how_far_it_is_before_its_connection_is_closed(
    tmp_path: Path, told: Result | None
) -> None:
    engine = Upstream(tmp_path / "s", told)

    async def wait(request: web.Request) -> web.Response:
        engine.open += 1
        try:
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        finally:
            engine.open -= 1
        return web.Response()

    async with FakeServer(wait, tmp_path / "s"):
        work = Work()
        asked = asyncio.create_task(engine.ask("chat.completions", CHAT, work))
        await until(lambda: engine.open == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert engine.asked_while_open == [True]
        assert work.result == told if told else work.result.estimated
        await until(lambda: engine.open == 0)


async def test_an_engine_that_is_silent_for_too_long_is_asked_too(tmp_path: Path) -> None:
    engine = Upstream(tmp_path / "s", Result(input=9, output=4), patience=0.2)

    async def wait(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with FakeServer(wait, tmp_path / "s"):
        for stream in (False, True):
            work = Work()
            with pytest.raises(EngineTimeout):
                if stream:
                    async with engine.stream("chat.completions", STREAM, work):
                        pass
                else:
                    await engine.ask("chat.completions", CHAT, work)
            assert work.result == Result(input=9, output=4)


async def test_what_is_whole_or_never_went_out_is_not_asked_about(tmp_path: Path) -> None:
    engine = Upstream(tmp_path / "s")
    work = Work()
    with pytest.raises(EngineUnavailable):
        await engine.ask("chat.completions", CHAT, work)
    assert work.result == Result()
    bodies = [
        {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        {"error": "no"},
        {"choices": [{"finish_reason": "stop", "message": {"content": "one two three"}}]},
    ]

    async def answer(request: web.Request) -> web.Response:
        body = bodies.pop(0)
        return web.json_response(body, status=400 if body == {"error": "no"} else 200)

    async with FakeServer(answer, tmp_path / "s"):
        results = []
        for _ in range(3):
            work = Work()
            await engine.ask("chat.completions", CHAT, work)
            results.append(work.result)
    assert results[0] == Result(input=3, output=2, finish=("stop",))
    assert results[1] == Result()
    assert results[2] == Result(output=4, finish=("stop",), estimated=True), "13 bytes of text"
    assert engine.asked_while_open == []


async def test_a_stream_that_is_left_or_breaks_counts_its_pieces_as_an_estimate(tmp_path: Path) -> None:
    deltas = [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]

    async def stream(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for chunk in chunks[:2] if leaves else chunks:
            await reply.write(b"data: " + encode(chunk) + b"\n\n")
        if leaves:
            await gone.wait()
        return reply

    gone = asyncio.Event()
    engine = Upstream(tmp_path / "s")
    async with FakeServer(stream, tmp_path / "s"):
        for leaves in (True, False):
            work, seen = Work(), 0
            try:
                async with engine.stream("chat.completions", STREAM, work) as reply:
                    async for come in reply:
                        seen += len(come)
                        if leaves and seen == 2:
                            break
            except EngineBroken:
                assert not leaves
            gone.set()
            assert work.result == Result(output=1 if leaves else 2, estimated=True)


def test_an_engine_is_taken_to_write_as_fast_as_it_did() -> None:
    pace = Pace()
    assert pace.tokens(2) == 2 * FIRST_GUESS
    for _ in range(100):
        pace.note(1000, 10.0)
    assert pace.tokens(1) in (99, 100)


def test_a_requests_texts_are_its_input_and_pictures_are_not() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    content = [{"type": "text", "text": "x" * 40}, picture]
    assert request_tokens({"model": "m" * 99, "messages": [{"role": "user", "content": content}]}) == 10
    assert request_tokens({"prompt": "é" * 4}) == 2
    assert request_tokens({"prompt": [1, 2, 3]}) == 3
    assert request_tokens({"input": [[1, 2], [3]]}) == 3
    assert request_tokens({"input": ["abcd", "efgh"]}) == 2


def slot(mark: int, busy: bool = True, read: int = 0, cached: int = 0, decoded: int = 0) -> dict[str, Any]:
    return {
        "id": 1,
        "is_processing": busy,
        "n_prompt_tokens": 777,
        "n_prompt_tokens_processed": read,
        "n_prompt_tokens_cache": cached,
        "params": {"n_discard": mark, "seed": 7},
        "next_token": [{"n_decoded": decoded, "n_remain": 5}],
    }


@pytest.mark.parametrize(
    ("slots", "samples", "choices", "result"),
    [
        ([slot(5, read=7, cached=3, decoded=2)], 1, 1, Result(input=10, output=2, cached=3)),
        ([slot(6, read=7)], 1, 1, Result()),  # it waits in line
        ([{"id": 0, "is_processing": False}], 1, 1, Result()),  # a slot that nobody has had
        ([slot(5, busy=False)], 1, 1, None),  # it has just ended
        ([slot(5)], 1, 1, Result(estimated=True)),  # the first part of its prompt is computed
        ([slot(5, read=9, decoded=2), slot(5, decoded=1)], 2, 2, Result(input=9, output=3)),
        ([slot(5, read=9, decoded=2), slot(5, read=4)], 1, 2, Result(input=13, output=2)),
    ],
)
def test_slots_tell_of_the_request_that_they_hold(
    slots: list[dict[str, Any]], samples: int, choices: int, result: Result | None
) -> None:
    assert far(encode([slot(99, read=1), *slots]), 5, samples, choices) == result


def test_a_slot_holds_a_request_while_it_works_for_it() -> None:
    assert holds(encode([slot(99), slot(5)]), 5)
    assert not holds(encode([slot(99), slot(5, busy=False)]), 5)
    assert not holds(b"no list", 5)


async def test_all_who_wait_share_one_look_and_one_who_leaves_takes_none_from_the_others() -> None:
    looked: list[int] = []

    async def look() -> bytes:
        looked.append(1)
        return b"[]"

    looks = Looks(look, apart=0.01)
    leaving, *others = [asyncio.create_task(looks.next()) for _ in range(5)]
    await asyncio.sleep(0)
    leaving.cancel()
    assert await asyncio.gather(*others) == [b"[]"] * 4
    assert looked == [1]
    assert await looks.next() == b"[]"


async def test_a_whole_answer_that_was_cut_counts_until_the_engine_lets_go_of_it() -> None:
    told = [Result(input=9, output=output) for output in (4, 6, 9)]

    async def again() -> Result | None:
        return told.pop(0) if told else None

    async def count() -> Result | None:
        return told.pop(0)

    work = Work()
    work.follow(count, again)
    await work.rest()
    assert work.result == Result(), "it was answered: nothing is asked"
    work.sent()
    await work.left()
    assert work.result.output == 4
    await work.rest()
    assert work.result.output == 9


def counting(index: int, text: str, read: int, written: int, finish: str | None = None) -> bytes:
    usage = {"prompt_tokens": read, "completion_tokens": written}
    return encode(
        {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}], "usage": usage}
    )


def test_counts_that_come_with_every_chunk_are_asked_for_summed_and_kept_back() -> None:
    adapter = OpenAIAdapter(continuous_usage=True)
    document = {**STREAM, "n": 2}
    sent = msgspec.json.decode(adapter.prepare("chat.completions", document))
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    events = adapter.events("chat.completions", document)
    for chunk in (counting(0, "", 9, 0), counting(0, "abc", 9, 3), counting(1, "d", 9, 1)):
        passed = events.feed(b"", chunk)
        assert passed is not None
        assert "usage" not in msgspec.json.decode(passed)
    assert events.result == Result(input=9, output=4)
    document["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    chunk = counting(0, "abc", 9, 3)
    assert adapter.events("chat.completions", document).feed(b"", chunk) is chunk


def test_a_server_that_says_its_usage_with_the_last_piece_has_said_it() -> None:
    events = OpenAIAdapter().events("chat.completions", STREAM)
    last = counting(0, "", 9, 3, "stop")
    assert events.feed(b"", last) is last
    assert events.feed(b"", b"[DONE]") is None
    assert events.result == Result(input=9, output=3, finish=("stop",))


def test_responses_count_their_pieces_until_they_say_their_usage() -> None:
    events = OpenAIAdapter().events("responses", {"stream": True})
    events.feed(b"", encode({"type": "response.created"}))
    events.feed(b"", encode({"type": "response.output_text.delta", "delta": "a"}))
    assert events.result == Result(output=1, estimated=True)
    events.feed(b"", encode({"type": "response.completed", "response": {"status": "completed"}}))
    assert events.result == Result(output=1, finish=("completed",), estimated=True)


async def test_what_came_before_a_fault_comes_first_though_it_came_with_it(tmp_path: Path) -> None:
    said = [b"data: " + encode({"choices": [{"index": 0, "delta": {"content": text}}]}) for text in "ab"]

    async def stream(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b"\n\n".join([*said, b'data: {"error":{"message":"no"}}', said[0], b""]))
        return reply

    engine = Upstream(tmp_path / "s")
    work, seen = Work(), []
    async with FakeServer(stream, tmp_path / "s"):
        with pytest.raises(EngineReported):
            async with engine.stream("chat.completions", STREAM, work) as reply:
                async for come in reply:
                    seen += [b"data: " + data for _, data in come]
    assert seen == said
    assert work.result == Result(output=2, estimated=True)


async def test_a_whole_answer_that_is_cut_in_the_engines_own_line_counts_nothing() -> None:
    async def count() -> Result | None:
        return far(encode([slot(6, read=700, decoded=90)]), 5, 1, 1)

    async def again() -> Result | None:
        return None

    work = Work()
    work.follow(count, again)
    work.sent()
    await work.left()
    work.cut(Pace())
    await work.rest()
    assert work.result == Result()
