"""A witness on HTTP (https://c2sp.org/tlog-witness).

    POST <prefix>/add-checkpoint               the cosignature lines, or why not
    GET  <prefix>/<origin hash>/checkpoint     the latest cosigned checkpoint of a log

Requests are bounded in size and time, and one thread answers them in turn: what is signed has been
compared and persisted before anyone else's request is looked at.
"""

import asyncio
import contextlib
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from regalia.notes import signature_line
from regalia.witness.errors import Refused
from regalia.witness.request import MAX_REQUEST, AddCheckpoint
from regalia.witness.witness import Witness

_LOG = structlog.get_logger()
TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Reply(msgspec.Struct, frozen=True):
    """An answer; `allow` names the method that a 405 asks for, `close` ends the connection."""

    status: int
    body: str
    content_type: str = TEXT
    allow: str = ""
    close: bool = False


class ClientGone(Exception):
    """The client left before its request was whole."""


class App:
    """The ASGI application of one witness."""

    def __init__(self, witness: Witness, *, prefix: str = "", body_seconds: float = 10.0) -> None:
        self._witness = witness
        self._prefix = prefix.rstrip("/")
        self._body_seconds = body_seconds
        self._turn = ThreadPoolExecutor(1, thread_name_prefix="regalia-witness")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply = await self._route(scope, receive)
        except ClientGone:
            return
        headers = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", b"%d" % len(reply.body.encode())),
        ]
        if reply.allow:
            headers.append((b"allow", reply.allow.encode()))
        if reply.close:  # what the client still sends is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body.encode()})

    def close(self) -> None:
        """Wait for the request in progress."""
        self._turn.shutdown()

    async def _route(self, scope: Scope, receive: Receive) -> Reply:
        path = scope["path"]
        if not path.startswith(f"{self._prefix}/"):
            return _unknown()
        match path.removeprefix(f"{self._prefix}/").split("/"):
            case ["add-checkpoint"]:
                if scope["method"] != "POST":
                    return Reply(405, "add-checkpoint takes POST\n", allow="POST")
                body = await self._body(scope, receive)
                return body if isinstance(body, Reply) else await self._in_turn(self._add, body)
            case [origin_hash, "checkpoint"]:
                if scope["method"] != "GET":
                    return Reply(405, "checkpoint takes GET\n", allow="GET")
                return await self._in_turn(self._latest, origin_hash)
            case _:
                return _unknown()

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Reply:
        too_large = Reply(413, f"the body is larger than {MAX_REQUEST} bytes\n", close=True)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > MAX_REQUEST:
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    body += message.get("body", b"")
                    if len(body) > MAX_REQUEST:
                        return too_large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            return Reply(408, "the body did not arrive in time\n", close=True)

    async def _in_turn(self, answer: Callable[[Any], Reply], argument: object) -> Reply:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._turn, answer, argument)
        except (sqlite3.Error, OSError) as error:
            _LOG.error("the witness can't use its book", error=str(error))
            return Reply(503, "the witness can't use its book\n")

    def _add(self, body: bytes) -> Reply:
        try:
            signatures = self._witness.cosign(AddCheckpoint.parse(body))
        except Refused as refusal:
            _LOG.info("refused", status=refusal.status, code=refusal.code, reason=str(refusal))
            if refusal.size is not None:
                return Reply(409, f"{refusal.size}\n", SIZE)
            return Reply(refusal.status, f"{refusal}\n")
        return Reply(200, "".join(map(signature_line, signatures)))

    def _latest(self, origin_hash: str) -> Reply:
        note = self._witness.latest(origin_hash)
        return Reply(200, note) if note else Reply(404, "nothing cosigned for this log\n")


def serve(
    witness: Witness,
    *,
    http: type[asyncio.Protocol],
    host: str = "127.0.0.1",
    port: int = 0,
    uds: Path | None = None,
    prefix: str = "",
    body_seconds: float = 10.0,
    connections: int = 256,
) -> None:
    """Serve in the foreground until SIGTERM or SIGINT. `http` bounds the heads of requests."""
    app = App(witness, prefix=prefix, body_seconds=body_seconds)
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            uds=str(uds) if uds else None,
            http=http,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=10,
        )
    )
    try:
        server.run()
    finally:
        app.close()


class _Server(uvicorn.Server):
    """uvicorn that returns after a signal, instead of raising it again before the book is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in getattr(self, "servers", ()):
            for listening in server.sockets:
                name = listening.getsockname()
                where = f"unix:{name}" if isinstance(name, str) else f"http://{name[0]}:{name[1]}"
                _LOG.info("the witness is serving", url=where)


def _unknown() -> Reply:
    return Reply(404, "no such resource; a witness has add-checkpoint and <origin hash>/checkpoint\n")
