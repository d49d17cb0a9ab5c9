"""What one request makes an engine do, kept for as long as it lasts, so that it counts however it ends.

An engine that is asked for a whole answer says its counts with the answer: a client that leaves, a limit
of time, a drain or a rail ends the request before. Then, while the connection is still open, an engine
that can say how far it is (`Count`) is asked; of any other it is assumed what `regalia.engines.pace` says,
and the result is marked `estimated`. What an engine was never sent, or refused, is nothing.
"""

import time
from collections.abc import Awaitable, Callable

import msgspec

from regalia.engines.adapter import Result
from regalia.engines.pace import Pace

Count = Callable[[], Awaitable[Result | None]]
"""Asks the engine how far a request is. None where it does not say."""


class Followed(msgspec.Struct, frozen=True):
    """How an engine can be asked about a request: the `mark` by which it knows it, 0 for none, and who asks.

    `again` is for a whole answer whose connection was closed: None once the engine has let go of it.
    """

    mark: int = 0
    count: Count | None = None
    again: Count | None = None


class Work:
    """One request. `result` is what is known of it by now, and for good once the request is over."""

    __slots__ = ("_again", "_begun", "_count", "_told", "result")

    def __init__(self) -> None:
        self.result = Result()
        self._begun = 0.0
        self._count: Count | None = None
        self._again: Count | None = None
        self._told = False

    def follow(self, count: Count | None, again: Count | None = None) -> None:
        """Say who can tell how far the request is, and whether the engine goes on when it was cut."""
        self._count = count
        self._again = again

    # What the client calls

    def sent(self) -> None:
        """The request goes out: from now on the engine may work for it."""
        self._begun = time.monotonic()
        self.result = Result(estimated=True)

    async def left(self) -> None:
        """The connection is about to be closed though the reply has not come whole."""
        if self._count is not None and self.result.estimated:
            counted = await self._count()
            if counted is not None:
                self.result, self._told = counted, True

    # For a caller for whom nobody waits

    async def rest(self) -> None:
        """Return once the engine has let go of a request that was cut, with what it did until then."""
        while self._told and self._again is not None:
            counted = await self._again()
            if counted is None:
                return
            self.result = counted

    # What the engine's side knows

    def learn(self, result: Result) -> None:
        """What the engine has told until now."""
        self.result = result

    def answered(self, result: Result, pace: Pace) -> None:
        """The whole reply is there."""
        self.result = result
        if not result.estimated:
            pace.note(result.output, time.monotonic() - self._begun)

    def cut(self, pace: Pace) -> None:
        """There will be no whole reply: what the engine wrote is assumed where it did not say."""
        if self.result.estimated and not self._told:
            written = pace.tokens(time.monotonic() - self._begun)
            self.result = msgspec.structs.replace(self.result, output=max(written, self.result.output))
