"""What the gateway needs of the client's connection, whatever speaks the wire."""

from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import Protocol

Headers = tuple[tuple[bytes, bytes], ...]


class ClientGone(Exception):
    """The client closed its connection while the call was under way."""


class CallTimeout(Exception):
    """The call took longer than the operator allows."""


class Client(Protocol):
    """One client waiting for one answer.

    Whatever runs inside `watch()` is cancelled when the client goes away (`ClientGone`) or the
    call's time is over (`CallTimeout`).
    """

    def watch(self) -> AbstractContextManager[None]:
        """Watch the connection and the clock for as long as the block runs."""
        ...

    async def reply(
        self, call: str, status: int, content_type: str, body: bytes, headers: Headers = ()
    ) -> None:
        """Send a whole answer."""
        ...

    async def start(self, call: str, content_type: str, headers: Headers = ()) -> None:
        """Begin a streamed answer with status 200."""
        ...

    def send(self, data: bytes, *, last: bool = False) -> Awaitable[None]:
        """Send a part of a streamed answer; `last` ends it."""
        ...
