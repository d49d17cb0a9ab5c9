"""The HTTP client that talks to every engine, over TCP or a Unix socket.

It promises bounds: a time for connecting, for the first byte, between two chunks and for a whole
reply, and a largest reply. It follows no redirects, keeps no cookies, reads no proxy settings and
resolves no name but the endpoint's own. Leaving a stream early closes its connection at once, which
is what makes an engine stop generating.

This is on the hot path: URLs and headers are built once, bodies go through as bytes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from regalia.engines.errors import EngineBroken, EngineTimeout, EngineUnavailable

_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding")
_KEEP_ALIVE_S = 4.0  # most servers close an idle connection after 5 s
_STALE_S = 0.1  # a closed connection shows at once; later, the engine died at work


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


class ReplyStream:
    """A reply whose body comes in chunks; read it with `async for`."""

    def __init__(self, client: "EngineClient", response: aiohttp.ClientResponse, deadline: float) -> None:
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self._client = client
        self._response = response
        self._deadline = deadline

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content = self._response.content
        try:
            chunk = content.read_nowait()
            if not chunk:
                async with asyncio.timeout(self._patience()):
                    chunk = await content.readany()
        except TimeoutError as error:
            raise EngineTimeout("the engine fell silent in the middle of its reply") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBroken(f"the engine's reply broke off: {error}") from error
        if not chunk:
            raise StopAsyncIteration
        self._client.progress()
        return chunk

    def _patience(self) -> float:
        return min(self._client.timeouts.between, self._deadline - time.monotonic())

    async def read(self) -> bytes:
        """The rest of the body. Raises EngineBroken where it is larger than a reply may be."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > self._client.max_reply:
                raise EngineBroken(f"the engine's reply is larger than {self._client.max_reply} bytes")
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
        self._base = "http://engine" if endpoint.socket is not None else endpoint.base_url.rstrip("/")
        headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._session = aiohttp.ClientSession(
            connector=_connector(endpoint, connections, keep_alive),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIPPED,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
            read_bufsize=2**18,
        )
        self._urls: dict[str, URL] = {}

    def progress(self) -> None:
        """Note that the engine gave something; a probe may spare it."""
        self.last_progress = time.monotonic()

    async def post(self, path: str, body: bytes, timeouts: Timeouts | None = None) -> Reply:
        """POST `body` to `path` and read the whole reply. Raises EngineError."""
        return await self._whole("POST", path, body, timeouts or self.timeouts)

    async def get(self, path: str, timeouts: Timeouts | None = None) -> Reply:
        """GET `path`. Raises EngineError."""
        return await self._whole("GET", path, None, timeouts or self.timeouts)

    @asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[ReplyStream]:
        """POST `body` and read the reply in chunks. Leaving the block early closes the connection."""
        timeouts = self.timeouts
        deadline = time.monotonic() + timeouts.total
        self.in_flight += 1
        try:
            response = await self._open("POST", path, body, min(timeouts.first_byte, timeouts.total))
            try:
                yield ReplyStream(self, response, deadline)
            finally:
                if not response.content.at_eof():
                    response.close()
                response.release()
        finally:
            self.in_flight -= 1

    async def idle(self) -> None:
        """Return once nothing is under way."""
        while self.in_flight:  # noqa: ASYNC110 - only while stopping; the hot path pays for no event
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _whole(self, method: str, path: str, body: bytes | None, timeouts: Timeouts) -> Reply:
        self.in_flight += 1
        try:
            async with asyncio.timeout(timeouts.total):
                response = await self._open(method, path, body, timeouts.first_byte)
                async with response:
                    length = response.content_length
                    if length is not None and length <= self.max_reply:
                        data = await response.read()
                    else:
                        data = await ReplyStream(self, response, time.monotonic() + timeouts.total).read()
        except TimeoutError as error:
            raise EngineTimeout(f"no reply within {timeouts.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBroken(f"the engine's reply broke off: {error}") from error
        finally:
            self.in_flight -= 1
        self.progress()
        return Reply(response.status, response.headers.get("Content-Type", ""), data)

    async def _open(
        self, method: str, path: str, body: bytes | None, first_byte: float
    ) -> aiohttp.ClientResponse:
        """The reply's status and headers."""
        try:
            async with asyncio.timeout(first_byte):
                response = await self._send(method, self._url(path), body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineUnavailable(f"the engine can't be reached: {error}") from error
        except TimeoutError as error:
            raise EngineTimeout(f"no answer within {first_byte:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineBroken(f"the engine closed the connection: {error}") from error
        if "Content-Encoding" in response.headers:
            response.close()
            raise EngineBroken("the engine sent a compressed reply, which was not asked for")
        return response

    async def _send(self, method: str, url: URL, body: bytes | None) -> aiohttp.ClientResponse:
        """Send; once more if the connection turns out to have been closed while it lay idle."""
        begun = time.monotonic()
        try:
            return await self._session.request(method, url, data=body, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if time.monotonic() - begun > _STALE_S:
                raise
            return await self._session.request(method, url, data=body, allow_redirects=False)

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base + path, encoded=True)
        return url


def _connector(endpoint: Endpoint, connections: int, keep_alive: bool) -> aiohttp.BaseConnector:
    idle_s = _KEEP_ALIVE_S if keep_alive else None
    if endpoint.socket is not None:
        return aiohttp.UnixConnector(
            endpoint.socket, limit=connections, force_close=not keep_alive, keepalive_timeout=idle_s
        )
    return aiohttp.TCPConnector(
        limit=connections, force_close=not keep_alive, keepalive_timeout=idle_s, ttl_dns_cache=60
    )
