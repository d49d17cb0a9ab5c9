"""Asking the witnesses again and again while the log grows, and knowing how long they have been silent.

The log goes on publishing by itself; every few seconds its newest checkpoint is put to the witnesses, and
the result is delivered to whoever keeps checkpoints. Nothing is asked while nothing new is published.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from regalia.errors import RegaliaError
from regalia.witness.client import Cosigner, CosignResult
from regalia_verify.errors import FormatError
from regalia_verify.note import SignedNote

_LOG = structlog.get_logger()
INTERVAL_S = 10.0


class Cadence:
    """One loop for one log. `newest()` is its latest published checkpoint, `deliver` takes each result."""

    def __init__(
        self,
        cosigner: Cosigner,
        newest: Callable[[], str],
        deliver: Callable[[CosignResult], Awaitable[None]],
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cosigner = cosigner
        self._newest = newest
        self._deliver = deliver
        self._interval_s = interval_s
        self._clock = clock
        self._wake = asyncio.Event()
        self._satisfied_text = ""
        self._lacking_since: float | None = None
        self.last: CosignResult | None = None
        self.failure: str | None = None

    async def run(self) -> None:
        """Until cancelled. What fails is tried again at the next turn."""
        while True:
            try:
                await self.turn()
                self.failure = None
            except (RegaliaError, FormatError, OSError) as error:
                self.failure = f"the log can't be witnessed: {error}"
                _LOG.error("the log can't be witnessed", error=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval_s)
            self._wake.clear()

    async def turn(self) -> CosignResult | None:
        """Ask once, unless the newest checkpoint already satisfies the trust policy."""
        note = self._newest()
        text = SignedNote.parse(note).text
        if text == self._satisfied_text:
            return None
        if self._lacking_since is None:
            self._lacking_since = self._clock()
        result = await self._cosigner.cosign(note)
        self._report(result)
        await self._deliver(result)
        self.last = result
        if result.witnessed:
            self._satisfied_text = text
            self._lacking_since = None
        return result

    def wake(self) -> None:
        """Someone waits for a witnessed checkpoint: do not wait for the interval to pass."""
        self._wake.set()

    def overdue_s(self) -> float:
        """For how long witnesses have been asked in vain; 0 while the trust policy is satisfied.

        An operator who prefers silence to an unwitnessed answer stops the log above a limit.
        """
        return 0.0 if self._lacking_since is None else self._clock() - self._lacking_since

    def _report(self, result: CosignResult) -> None:
        """Say what has changed since the last turn; a witness that stays lost is not news."""
        known = {(f.witness, f.reason) for f in self.last.failures} if self.last else set()
        for failure in result.failures:
            if (failure.witness, failure.reason) not in known:
                _LOG.warning(
                    "a witness has not cosigned",
                    witness=failure.witness,
                    reason=failure.reason,
                    error=failure.message,
                )
