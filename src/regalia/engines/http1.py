"""One HTTP/1.1 connection to a server (RFC 9112), over TCP, TLS or a Unix socket.

It does what asking an engine takes, and no more: one request at a time, a body of known length out, a
reply of any framing in, parsed by llhttp. A reply's head is bounded; a body that comes faster than it
is read stops the reading. docs/decisions/0002-own-http-client.md says why this is not a library.
"""

import asyncio
from typing import Final, cast

import httptools

_MAX_HEAD: Final = 64 * 1024
_HIGH_WATER: Final = 256 * 1024
_TICK_S: Final = 0.001  # event loops round timers to milliseconds


class ConnectionBroken(Exception):
    """The connection ended before the reply did, or carried what is not HTTP."""


class Connection(asyncio.Protocol):
    """A connection, and the reply that is on it.

    `begun` is True once a byte of the reply has come, `complete` once all of it has; `pending` is how
    many bytes of the body wait to be read.
    """

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.served = 0
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)
        self._timer: asyncio.Handle | None = None
        self._rings = 0.0
        self._clear()

    def _clear(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.content_type = ""
        self.content_length = -1
        self.compressed = False
        self.begun = False
        self.complete = False
        self.pending = 0
        self._keep = False
        self._framed = False
        self._head_size = 0
        self._chunks: list[bytes] = []
        self._failure: ConnectionBroken | TimeoutError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        self._paused = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self.complete and self._keep and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> None:
        """Begin a request; nothing of an earlier one is left."""
        if self.served:
            self._clear()
        self.served += 1
        if len(body) < _MAX_HEAD:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def head(self, within: float) -> None:
        """Return once `status` and `content_type` are known. Raises ConnectionBroken, TimeoutError."""
        if not self.status:
            self._allow(within)
        while not self.status:
            await self._news()

    async def read(self, within: float) -> bytes:
        """What has come of the body; nothing once it is complete. Raises ConnectionBroken, TimeoutError."""
        chunks = self._chunks
        if not chunks and not self.complete:
            self._allow(within)
            while not chunks and not self.complete:
                await self._news()
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.pending = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _allow(self, seconds: float) -> None:
        """Whoever waits from now on may wait so long.

        One timer serves all reads of a reply: it is set anew where it would come too late, and waits on where
        it comes too early. Setting one for each read took a tenth of what passing on a token takes.
        """
        self._until = self._loop.time() + seconds
        if self._timer is None or self._until < self._rings:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        left = self._until - self._loop.time()
        if left > _TICK_S:
            self._set_timer(left)
            return
        if self._failure is None:
            self._failure = TimeoutError()
        self._wake()

    def _news(self) -> asyncio.Future[None]:
        """Done once something has come, or has gone wrong."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        self._keep = False
        if not self.complete and self._failure is None:
            self._failure = ConnectionBroken(reason)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the reply is not HTTP: {error}")
        if not self.status:
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD:
                self._fail(f"the reply's head is larger than {_MAX_HEAD} bytes")
        if self._failure is not None:
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """A reply without a length ends here; any other that is not complete is broken."""
        if self.status and not self._framed and exc is None and self._failure is None:
            self.complete = True
        self._fail(f"the connection ended{f': {exc}' if exc else ''}")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    # What the parser calls

    def on_message_begin(self) -> None:
        """A second reply to one request leaves a connection that can't be used again."""
        if self.complete:
            self._fail("a reply that nobody asked for")
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the few fields that matter."""
        if self.complete:
            return
        match name.lower():
            case b"content-type":
                self.content_type = value.decode("latin-1")
            case b"content-length":
                self._framed = True
                self.content_length = int(value)
            case b"transfer-encoding":
                self._framed = True
            case b"content-encoding":
                self.compressed = True

    def on_headers_complete(self) -> None:
        """Note the status; a preliminary one (1xx) is passed over."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self.status = status

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete:
            return
        self._chunks.append(data)
        self.pending += len(data)
        if self.pending > _HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self.status and not self.complete:
            self.complete = True
            self._keep = self._parser.should_keep_alive()
