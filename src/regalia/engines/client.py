"""The HTTP client that talks to every engine, over TCP or a Unix socket.

It promises bounds: a time for connecting, for the first byte, between two chunks and for a whole
reply, and a largest reply. It follows no redirects, keeps no cookies, reads no proxy settings and
resolves no name but the endpoint's own. Leaving a stream early closes its connection at once, which
is what makes an engine stop generating.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from regalia.engines.errors import EngineBroken, EngineTimeout, EngineUnavailable
from regalia.engines.http1 import Connection, ConnectionBroken

_KEEP_ALIVE_S = 4.0  # most servers close an idle connection after 5 s
_STALE_S = 1.0  # a connection that was closed while idle shows at once; later, the engine died at work


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `first_byte` counts from the request to the reply's headers."""

    connect: float = 5.0
    first_byte: float = 900.0
    between: float = 300.0
    total: float = 1800.0


class Endpoint(msgspec.Struct, frozen=True):
    """Where an engine listens: `base_url` is `http(s)://host[:port][/prefix]` or `unix:/path`."""

    base_url: str
    api_key: str = ""

    @property
    def socket(self) -> str | None:
        """The Unix socket's path, or None for TCP."""
        return self.base_url.removeprefix("unix:") if self.base_url.startswith("unix:") else None


class Reply(msgspec.Struct, frozen=True):
    """A whole reply."""

    status: int
    content_type: str
    body: bytes


class Follower(Protocol):
    """Who wants to know how a request goes."""

    def sent(self) -> None:
        """The request goes out."""
        ...

    async def left(self) -> None:
        """The reply is not whole, and its connection is about to be closed."""
        ...


class ReplyStream:
    """A reply whose body comes in chunks; read it with `async for`."""

    __slots__ = ("_client", "_connection", "_deadline", "content_type", "status")

    def __init__(self, client: "EngineClient", connection: Connection, deadline: float) -> None:
        self.status = connection.status
        self.content_type = connection.content_type
        self._client = client
        self._connection = connection
        self._deadline = deadline

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        connection, client = self._connection, self._client
        now = time.monotonic()
        try:
            chunk = await connection.read(min(client.timeouts.between, self._deadline - now))
        except TimeoutError as error:
            raise EngineTimeout("the engine fell silent in the middle of its reply") from error
        except ConnectionBroken as error:
            raise EngineBroken(f"the engine's reply broke off: {error}") from error
        if not chunk:
            raise StopAsyncIteration
        client.progress()
        return chunk

    async def read(self) -> bytes:
        """The rest of the body. Raises EngineBroken where it is larger than a reply may be."""
        limit = self._client.max_reply
        if self._connection.content_length > limit:
            raise EngineBroken(f"the engine's reply is larger than {limit} bytes")
        chunks: list[bytes] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                raise EngineBroken(f"the engine's reply is larger than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


class EngineClient:
    """One engine's connections. Make it inside a running event loop; `close` it at the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        *,
        connections: int = 512,
        keep_alive: bool = True,
        max_reply: int = 32 * 1024 * 1024,
    ) -> None:
        self.timeouts = timeouts
        self.max_reply = max_reply
        self.in_flight = 0
        self.last_progress = 0.0
        self._endpoint = endpoint
        self._keep_alive = keep_alive
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(connections)
        parts = urlsplit("http://engine" if endpoint.socket is not None else endpoint.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineUnavailable(f"{endpoint.base_url!r} is not http(s)://… or unix:/path")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._fields = self._common_fields(parts.netloc.rpartition("@")[2])
        self._heads: dict[tuple[str, str], bytes] = {}

    def progress(self) -> None:
        """Note that the engine gave something; a probe may spare it."""
        self.last_progress = time.monotonic()

    async def post(
        self, path: str, body: bytes, timeouts: Timeouts | None = None, follower: Follower | None = None
    ) -> Reply:
        """POST `body` to `path` and read the whole reply. Raises EngineError."""
        return await self._whole("POST", path, body, timeouts or self.timeouts, follower)

    async def get(self, path: str, timeouts: Timeouts | None = None) -> Reply:
        """GET `path`. Raises EngineError."""
        return await self._whole("GET", path, b"", timeouts or self.timeouts)

    @asynccontextmanager
    async def stream(
        self, path: str, body: bytes, follower: Follower | None = None
    ) -> AsyncIterator[ReplyStream]:
        """POST `body` and read the reply in chunks. Leaving the block early closes the connection."""
        deadline = time.monotonic() + self.timeouts.total
        self.in_flight += 1
        try:
            async with self._places:
                connection = await self._asked("POST", path, body, self.timeouts, follower)
                try:
                    yield ReplyStream(self, connection, deadline)
                finally:
                    await self._done_with(connection, follower)
        finally:
            self.in_flight -= 1

    async def idle(self) -> None:
        """Return once nothing is under way."""
        while self.in_flight:  # noqa: ASYNC110 - only while stopping; the hot path pays for no event
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close every connection that is not in use; those in use close when they are done."""
        self._keep_alive = False
        while self._idle:
            self._idle.pop().close()

    async def _whole(
        self, method: str, path: str, body: bytes, timeouts: Timeouts, follower: Follower | None = None
    ) -> Reply:
        self.in_flight += 1
        try:
            async with self._places:
                deadline = time.monotonic() + timeouts.total
                connection = await self._asked(method, path, body, timeouts, follower)
                try:
                    whole = await self._body(connection, deadline)
                    reply = Reply(connection.status, connection.content_type, whole)
                finally:
                    await self._done_with(connection, follower)
        finally:
            self.in_flight -= 1
        self.progress()
        return reply

    async def _body(self, connection: Connection, deadline: float) -> bytes:
        if connection.complete and connection.pending <= self.max_reply:  # nearly every reply
            return await connection.read(0)
        return await ReplyStream(self, connection, deadline).read()

    async def _asked(
        self, method: str, path: str, body: bytes, timeouts: Timeouts, follower: Follower | None
    ) -> Connection:
        """A connection on which the reply's head has come. Raises EngineError."""
        begun = time.monotonic()
        patience = min(timeouts.first_byte, timeouts.total)
        head = self._head(method, path) + b"%d\r\n\r\n" % len(body)
        while True:
            connection = self._idle_connection() or await self._connect(timeouts.connect)
            connection.send(head, body)
            if follower is not None:
                follower.sent()
            try:
                await connection.head(patience)
            except TimeoutError as error:
                await self._done_with(connection, follower)
                raise EngineTimeout(f"no answer within {patience:g} s") from error
            except ConnectionBroken as error:
                connection.close()
                if connection.served > 1 and not connection.begun and time.monotonic() - begun < _STALE_S:
                    continue  # the engine had closed it while it lay idle
                raise EngineBroken(f"the engine closed the connection: {error}") from error
            except BaseException:
                await self._done_with(connection, follower)
                raise
            if connection.compressed:
                connection.close()
                raise EngineBroken("the engine sent a compressed reply, which was not asked for")
            return connection

    async def _done_with(self, connection: Connection, follower: Follower | None) -> None:
        if self._keep_alive and connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
            return
        try:
            if follower is not None and not connection.complete:
                await follower.left()
        finally:
            connection.close()

    def _idle_connection(self) -> Connection | None:
        """The connection that was used last, if it can be used still."""
        fresh = time.monotonic() - _KEEP_ALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > fresh:
                return connection
            connection.close()
        return None

    async def _connect(self, patience: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience):
                if self._endpoint.socket is not None:
                    return (await loop.create_unix_connection(Connection, self._endpoint.socket))[1]
                made = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
                return made[1]
        except TimeoutError as error:
            raise EngineUnavailable(f"the engine did not take the connection in {patience:g} s") from error
        except OSError as error:
            raise EngineUnavailable(f"the engine can't be reached: {error}") from error

    def _head(self, method: str, path: str) -> bytes:
        """The request's head up to its length."""
        head = self._heads.get((method, path))
        if head is None:
            line = f"{method} {self._prefix}{path} HTTP/1.1\r\n".encode("ascii")
            head = self._heads[method, path] = line + self._fields
        return head

    def _common_fields(self, host: str) -> bytes:
        fields = [f"Host: {host}", "Content-Type: application/json", "Accept-Encoding: identity"]
        if self._endpoint.api_key:
            if not self._endpoint.api_key.isprintable() or not self._endpoint.api_key.isascii():
                raise EngineUnavailable("the engine's api_key has characters that no header can carry")
            fields.append(f"Authorization: Bearer {self._endpoint.api_key}")
        if not self._keep_alive:
            fields.append("Connection: close")
        return "".join(f"{field}\r\n" for field in [*fields, "Content-Length: "])[:-2].encode("ascii")
