"""The HTTP client: bounds on time and size, and connections that close when nobody listens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from live_engines import FakeServer, until
from regalia.engines import Endpoint, EngineBroken, EngineClient, EngineTimeout, EngineUnavailable, Timeouts

PATIENT = Timeouts(connect=60.0, first_byte=60.0, between=60.0, total=200.0)
SHORT = Timeouts(connect=60.0, first_byte=0.3, between=0.3, total=60.0)
HALTING = Timeouts(connect=60.0, first_byte=60.0, between=1.0, total=200.0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving_with(
    handler: Handler, where: Path | int, max_reply: int = 2**20, timeouts: Timeouts = PATIENT
) -> AsyncIterator[EngineClient]:
    base = f"http://127.0.0.1:{where}" if isinstance(where, int) else f"unix:{where}"
    async with FakeServer(handler, where):
        client = EngineClient(Endpoint(base, "secret"), timeouts, max_reply=max_reply)
        try:
            yield client
        finally:
            await client.close()


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(
        body=body, content_type="text/plain", headers={"x-key": request.headers["Authorization"]}
    )


@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_a_reply_comes_back_byte_for_byte(over: str, port: int, tmp_path: Path) -> None:
    async with serving_with(echo, port if over == "tcp" else tmp_path / "s.sock") as client:
        for body in (b"{}", b"x" * 300_000):
            reply = await client.post("/a/b", body)
            assert (reply.status, reply.content_type, reply.body) == (200, "text/plain", body)
        assert client.in_flight == 0


async def test_only_what_is_needed_is_sent(port: int) -> None:
    seen: list[dict[str, str]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response(headers={"Set-Cookie": "a=b", "Location": "/elsewhere"}, status=307)

    async with serving_with(note, port) as client:
        assert (await client.post("/x", b"{}")).status == 307
        await client.post("/x", b"{}")
    assert len(seen) == 2, "a redirect was followed"
    assert set(seen[1]) == {"Host", "Content-Type", "Content-Length", "Authorization", "Accept-Encoding"}
    assert seen[1]["Authorization"] == "Bearer secret"


async def test_nobody_there_is_unavailable(port: int, tmp_path: Path) -> None:
    for base in (f"http://127.0.0.1:{port}", f"unix:{tmp_path}/none.sock"):
        client = EngineClient(Endpoint(base), PATIENT)
        with pytest.raises(EngineUnavailable):
            await client.post("/", b"")
        with pytest.raises(EngineUnavailable):
            async with client.stream("/", b""):
                pass
        assert client.in_flight == 0
        await client.close()


async def test_silence_before_the_first_byte_times_out(port: int) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving_with(silent, port, timeouts=SHORT) as client:
        with pytest.raises(EngineTimeout):
            await client.post("/", b"")
        with pytest.raises(EngineTimeout):
            async with client.stream("/", b""):
                pass


async def test_silence_in_the_middle_of_a_stream_times_out(port: int) -> None:
    async def halting(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"data: 1\n\n")
        await asyncio.sleep(30)
        return reply

    chunks = []
    async with serving_with(halting, port, timeouts=HALTING) as client:
        with pytest.raises(EngineTimeout):
            async with client.stream("/", b"") as stream:
                async for chunk in stream:
                    chunks.append(chunk)  # noqa: PERF401 - the loop ends in an error
    assert chunks == [b"data: 1\n\n"]


async def test_a_reply_larger_than_allowed_is_refused(port: int) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        if request.path == "/declared":
            return web.Response(body=b"x" * 2000)
        reply = web.StreamResponse()
        await reply.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await reply.write(b"x" * 100)
        return reply

    async with serving_with(large, port, max_reply=1000) as client:
        for path in ("/declared", "/chunked"):
            with pytest.raises(EngineBroken, match="larger than 1000"):
                await client.post(path, b"")


async def test_a_compressed_reply_is_refused(port: int) -> None:
    async def compressed(_: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    async with serving_with(compressed, port) as client:
        with pytest.raises(EngineBroken, match="compressed"):
            await client.post("/", b"")


async def test_an_engine_that_dies_in_the_middle_is_broken(port: int) -> None:
    async def dying(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"data: 1\n\n")
        assert request.transport is not None
        request.transport.abort()
        return reply

    async with serving_with(dying, port) as client:
        with pytest.raises(EngineBroken):
            async with client.stream("/", b"") as stream:
                [chunk async for chunk in stream]
        with pytest.raises(EngineBroken):
            await client.post("/", b"")


@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_leaving_a_stream_early_closes_its_connection(over: str, port: int, tmp_path: Path) -> None:
    closed: list[bool] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        try:
            while True:
                await reply.write(b"data: x\n\n")
                await asyncio.sleep(0.01)
        finally:
            closed.append(True)

    async with serving_with(endless, port if over == "tcp" else tmp_path / "s.sock") as client:
        async with client.stream("/", b"") as stream:
            async for _ in stream:
                break
        await until(lambda: bool(closed))
        assert client.in_flight == 0


async def test_a_cancelled_request_closes_its_connection(port: int) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        asked.set()
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        gone.set()
        return web.Response()

    async with serving_with(slow, port) as client:
        task = asyncio.create_task(client.post("/", b"", Timeouts()))
        await asked.wait()
        assert client.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.in_flight == 0
        await gone.wait()


async def test_a_connection_closed_while_idle_is_replaced(port: int) -> None:
    """The engine closes after each reply without saying so, as llama.cpp does after a stream."""
    served = 0

    async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            served += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(raw, "127.0.0.1", port)
    client = EngineClient(Endpoint(f"http://127.0.0.1:{port}"), PATIENT)
    for _ in range(20):
        assert (await client.get("/")).body == b"ok"
    assert served == 20
    await client.close()
    server.close()
