"""One call's way: read → choose an engine → record → generate → record → end.

The order is the promise. `call.admitted` is durable before the engine is asked, the outcome is
durable before the answer ends. No path leads around the ledger: an answer whose record can't be made
durable is not given, and the ledger closes such a call (`call.aborted`) as soon as it works again.
"""

import asyncio
import os
from collections.abc import Callable

import structlog

from regalia.clock import now_ms
from regalia.engines import EngineError
from regalia.errors import ApiError, AuditUnavailable
from regalia.fleet import Fleet
from regalia.gateway.call import RANDOM_BYTES, Call, Outcome
from regalia.gateway.client import Client, ClientGone
from regalia.gateway.generation import Generation
from regalia.gateway.metrics import Metrics
from regalia.gateway.problems import as_seen
from regalia.gateway.routes import Route, read
from regalia.identity import Principal, Pseudonyms
from regalia.ledger import Ledger

_LOG = structlog.get_logger()


class Gateway:
    """Answers calls. One per process; `answer` may run many times at once."""

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        pseudonyms: Pseudonyms,
        metrics: Metrics,
        *,
        concurrent_calls: int,
        response_bytes: int,
        refusal: Callable[[], str | None] = lambda: None,
        clock: Callable[[], int] = now_ms,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._pseudonyms = pseudonyms
        self._metrics = metrics
        self._concurrent_calls = concurrent_calls
        self._response_bytes = response_bytes
        self._refusal = refusal
        self._clock = clock
        self._random = random
        self.open_calls = 0

    async def answer(self, route: Route, principal: Principal, body: bytes, client: Client) -> None:
        """Answer one call, or raise the ApiError that the client is to see."""
        document, request = read(route, body)
        engine = self._fleet.choose(request.model, route.name)
        if self.open_calls >= self._concurrent_calls:
            raise ApiError(503, "overloaded", "Too many calls are under way; try again.", retry_after=1)
        refusal = self._refusal()
        if refusal is not None:
            raise AuditUnavailable(refusal)
        ms = self._clock()
        project = self._pseudonyms.of(principal.project, ms)
        call = Call(
            route, principal, project, body, document, request, ms=ms, random=self._random(RANDOM_BYTES)
        )
        try:
            generation = Generation(call, engine, client, self._response_bytes)
        except EngineError as gone:  # it ended since it was chosen
            raise as_seen(gone) from gone
        self.open_calls += 1
        try:
            await self._ledger.append(call.admission())
            await self._carry_out(call, generation)
        except ApiError as error:
            error.call = call.id
            raise
        finally:
            self.open_calls -= 1

    async def _carry_out(self, call: Call, generation: Generation) -> None:
        """Generate, record the outcome, end the answer. The call is admitted."""
        try:
            await generation.run()
        except ClientGone:
            await self._record(call, generation, "cancelled", 499)
            return
        except asyncio.CancelledError:
            await self._record(call, generation, "failed", 503, "server_stopped")
            raise
        except Exception as problem:
            error = as_seen(problem)
            if error.status >= 500:
                _LOG.warning("call failed", call=call.id, code=error.code, reason=error.message)
            outcome: Outcome = "failed" if error.status >= 500 else "refused"
            await self._record(call, generation, outcome, error.status, error.code)
            raise error from problem
        await self._record(call, generation, "answered", 200)
        await generation.finish()

    async def _record(
        self, call: Call, generation: Generation, outcome: Outcome, status: int, error: str | None = None
    ) -> None:
        ms = self._clock()
        result = generation.result
        entry = call.outcome(outcome, status, generation.identity, result, ms=ms, error=error)
        await self._ledger.append(entry)
        self._metrics.ended(call.route.name, outcome, (ms - call.started) / 1000, result.input, result.output)
