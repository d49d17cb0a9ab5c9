"""A transport whose first writes of a response leave together, and all others at once.

uvicorn writes a response's head and its body separately, which costs a system call each; on small
answers that is a tenth of the whole call (docs/performance.md). The events of a stream come one by one;
to hold them until the end of the event loop's turn would cost each of them a turn.
"""

import asyncio
from typing import Any


class GatheringTransport:
    """Wraps a transport; everything but `write` and `close` is the wrapped one's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._gathers = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def gather(self) -> None:
        """A request has come: what is written first from now on waits for the end of its turn."""
        self._gathers = True

    def write(self, data: bytes) -> None:
        """Send `data`: at the end of this turn of the loop where it begins a response, else at once."""
        if not self._gathers:
            if not self._transport.is_closing():
                self._transport.write(data)
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def is_closing(self) -> bool:
        """Whether the transport is closed or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Send what waits, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._gathers = self._gathers and not waiting
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))
