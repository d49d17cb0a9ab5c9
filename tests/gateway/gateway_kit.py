"""A scripted engine, a client that listens, and a gateway over the real ledger whose records are at hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from live_folder import files_below
from regalia.engines import (
    EngineIdentity,
    Reply,
    Result,
    Work,
)
from regalia.fleet import Fleet
from regalia.gateway import ROUTES, Gateway, Metrics
from regalia.identity import Principal, Pseudonyms
from regalia.ledger import Ledger
from regalia.metering import Metering
from regalia_verify import record

CHAT = next(route for route in ROUTES if route.name == "chat.completions")
PRINCIPAL = Principal("key_1", "default", "owner")
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
ANSWER = b'{"choices":[]}'
RESULT = Result(tokens=[[1, 2]], input=3, output=2, finish=("stop",))


class ScriptedEngine:
    """An engine whose reply is a script: what it yields is sent, what it raises happens."""

    name = "scripted"
    serves = ("m",)
    routes = frozenset({"chat.completions"})
    ready = True
    in_flight = 0

    def __init__(
        self, *script: bytes | BaseException | Callable[[], Any], status: int = 200, result: Result = RESULT
    ) -> None:
        self.script = script
        self.result = result
        self.status = status

    def identity(self, model: str) -> EngineIdentity:
        return EngineIdentity("scripted", "1", "unknown", "external", model, "unknown")

    async def start(self) -> None: ...

    async def stop(self, drain_s: float) -> None: ...

    async def ask(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> tuple[Reply, Result]:
        body = b"".join([step async for step in self._play()])
        if work is not None:
            work.learn(self.result)
        return Reply(self.status, "application/json", body), self.result

    @asynccontextmanager
    async def stream(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> AsyncIterator[Any]:
        try:
            yield ScriptedStream(self)
        finally:
            if work is not None:
                work.learn(self.result)

    async def _play(self) -> AsyncIterator[bytes]:
        for step in self.script:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, bytes):
                yield step
            else:
                await step()


class ScriptedStream:
    content_type = "text/event-stream"
    finished = False
    body = b""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.status = engine.status
        self.result = engine.result
        self._engine = engine

    async def __aiter__(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        async for step in self._engine._play():
            yield [(b"", step)]


class ListeningClient:
    """A client that keeps what it gets, and raises what it is told to when its watch ends."""

    def __init__(self) -> None:
        self.sent = b""
        self.status = 0
        self.ended = False
        self.watched: Exception | None = None

    @contextmanager
    def watch(self) -> Any:
        yield
        if self.watched is not None:
            raise self.watched

    async def reply(
        self, call: str, status: int, content_type: str, body: bytes, headers: object = ()
    ) -> None:
        self.status, self.sent, self.ended = status, body, True

    async def start(self, call: str, content_type: str, headers: object = ()) -> None:
        self.status = 200

    async def send(self, data: bytes, *, last: bool = False) -> None:
        self.sent += data
        self.ended = last


class House:
    """A gateway over a real ledger in a temporary directory."""

    def __init__(self, ledger: Ledger, data_dir: Path) -> None:
        self.ledger = ledger
        self.data_dir = data_dir

    def gateway(self, engine: ScriptedEngine, concurrent_calls: int = 8) -> Gateway:
        self.metering = Metering()
        return Gateway(
            self.ledger,
            Fleet([engine]),
            Pseudonyms(b"s" * 32),
            Metrics(),
            self.metering,
            concurrent_calls=concurrent_calls,
            response_bytes=10_000,
        )

    async def records(self) -> list[dict[str, Any]]:
        """Every record that was published, in the log's order."""
        await self.ledger.publish()
        folder = self.data_dir / "log" / "tile" / "entries"
        bundles = files_below(folder)
        data = bundles[max(bundles, key=lambda path: int(path.name) if path.name.isdigit() else -1)]
        found = []
        while data:
            size = int.from_bytes(data[:2], "big")
            found.append(record.parse(data[2 : 2 + size]))
            data = data[2 + size :]
        return found

    async def outcome(self) -> dict[str, Any]:
        return next(found for found in reversed(await self.records()) if found["kind"] != "call.admitted")


async def answer(gateway: Gateway, body: bytes = BODY) -> ListeningClient:
    client = ListeningClient()
    await gateway.answer(CHAT, PRINCIPAL, body, client)
    return client
