"""What tests of engines share: quick settings, a watcher that takes notes, a server of one handler."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from regalia.engines import EmbeddedSettings, Engine, EngineIdentity, Timeouts, Timing, Watcher

MODEL = "smollm2-135m-instruct"
SECRETS = {"UPSTREAM_KEY": "sk-secret", "REGALIA_API_KEY": "sk-secret", "HF_TOKEN": "hf-secret"}
QUICK = EmbeddedSettings(
    threads=1,  # the machine is shared: threads that wait for each other at every layer suffer most
    context=512,
    parallel=4,
    memory_mb=4096,
    timing=Timing(probe_every=0.5, probe_timeout=60.0, start_timeout=200.0, first_pause=0.1, grace=2.0),
    timeouts=Timeouts(connect=60.0, first_byte=200.0, between=200.0, total=240.0),
)


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.started: list[EngineIdentity] = []
        self.stopped: list[tuple[str, str]] = []

    @property
    def watcher(self) -> Watcher:
        return Watcher(self._on_started, self._on_stopped)

    async def _on_started(self, identity: EngineIdentity) -> None:
        self.started.append(identity)

    async def _on_stopped(self, name: str, reason: str) -> None:
        self.stopped.append((name, reason))


async def until(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    """Wait for a condition; TimeoutError if it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


class FakeServer:
    """An aiohttp server on a Unix socket or a loopback port, with one handler for everything."""

    def __init__(self, handler: Any, where: Path | int) -> None:
        self._handler = handler
        self._where = where
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "FakeServer":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handler)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        if isinstance(self._where, int):
            await web.TCPSite(self._runner, "127.0.0.1", self._where).start()
        else:
            await web.UnixSite(self._runner, str(self._where)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "seed": 7, **fields}


async def events(engine: Engine, route: str, document: dict[str, Any]) -> tuple[list[bytes], Any]:
    """Every event of a stream, and its result."""
    found = []
    async with engine.stream(route, document) as stream:
        assert stream.status == 200, stream.body
        async for come in stream:
            found += [data for _, data in come]
        assert stream.finished
        return found, stream.result
