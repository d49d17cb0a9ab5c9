"""One call's way: read → may this key → choose an engine → reserve → record → generate → record → end.

The order is the promise. A model that nothing serves is refused before anything is kept of its name. What the
call can use is reserved before anything is asked of anyone.
`call.admitted` is on its way to the ledger before the engine is asked, and durable before anything leaves;
what did not become durable is not answered (docs/decisions/0025). The outcome is durable before the answer
ends, and what the call used is settled in the same transaction. No path leads around the ledger: an answer
whose record can't be made durable is not given, and the ledger closes such a call (`call.aborted`) as soon as
it works again. Until the record says how it ended, what it reserved stays reserved.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from regalia.clock import now_ms
from regalia.engines import Engine, EngineError
from regalia.errors import ApiError, AuditUnavailable
from regalia.fleet import Fleet, UnknownModel
from regalia.gateway.call import RANDOM_BYTES, Call, Outcome
from regalia.gateway.client import Client, ClientGone
from regalia.gateway.generation import Generation
from regalia.gateway.guard import CallGuard, Guard
from regalia.gateway.guarded import GuardedGeneration
from regalia.gateway.metrics import Metrics
from regalia.gateway.problems import as_seen, unquoted
from regalia.gateway.requests import InferenceRequest
from regalia.gateway.routes import Route, read
from regalia.identity import Principal, Pseudonyms, may_use
from regalia.ledger import Ledger, LedgerInvariantError, Unmade
from regalia.metering import Metering, Reservation
from regalia.metering.energy import EnergyMeter

_LOG = structlog.get_logger()


class Gateway:
    """Answers calls. One per process; `answer` may run many times at once."""

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        pseudonyms: Pseudonyms,
        metrics: Metrics,
        metering: Metering,
        *,
        concurrent_calls: int,
        response_bytes: int,
        refusal: Callable[[], str | None] = lambda: None,
        energy: EnergyMeter | None = None,
        guard: Guard | None = None,
        clock: Callable[[], int] = now_ms,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._pseudonyms = pseudonyms
        self._metrics = metrics
        self._metering = metering
        self._energy = energy
        self._guard = guard
        self._concurrent_calls = concurrent_calls
        self._response_bytes = response_bytes
        self._refusal = refusal
        self._clock = clock
        self._random = random
        self.open_calls = 0

    async def answer(
        self, route: Route, principal: Principal, body: bytes, client: Client, *, released: str = ""
    ) -> None:
        """Answer one call, or raise the ApiError that the client is to see.

        `released` names the review by which a request that a rail had held may go on.
        """
        document, request = read(route, body)
        if not may_use(principal, request.model):
            raise UnknownModel(
                request.model, f"There is no model {request.model!r} here; GET /v1/models lists them."
            )
        engine = self._fleet.choose(request.model, route.name)
        ms = self._clock()
        reservation = self._metering.reserve(
            principal.organisation,
            principal.project,
            principal.key_id,
            principal.user,
            route.name,
            request.model,
            document,
            len(body),
            ms,
        )
        try:
            guard = self._guard.of(route.name, principal, document, released) if self._guard else None
            call, generation = self._prepare(
                route, principal, body, document, request, client, engine, reservation, guard
            )
            await self._admitted(call, generation)
        finally:
            self._metering.release(reservation)

    def _prepare(
        self,
        route: Route,
        principal: Principal,
        body: bytes,
        document: dict[str, Any],
        request: InferenceRequest,
        client: Client,
        engine: Engine,
        reservation: Reservation,
        guard: CallGuard | None,
    ) -> tuple[Call, Generation]:
        """The call, and its answer by the engine. Raises ApiError."""
        if self.open_calls >= self._concurrent_calls:
            raise ApiError(503, "overloaded", "Too many calls are under way; try again.", retry_after=1)
        refusal = self._refusal()
        if refusal is not None:
            raise AuditUnavailable(refusal)
        call = Call(
            route,
            principal,
            self._pseudonyms.of(principal.project, reservation.ms),
            body,
            document,
            request,
            reservation,
            random=self._random(RANDOM_BYTES),
        )
        try:
            if guard is None:
                generation = Generation(call, engine, client, self._response_bytes)
            else:
                generation = GuardedGeneration(call, engine, client, self._response_bytes, guard)
                call.guard = guard
        except EngineError as gone:  # it ended since it was chosen
            raise as_seen(gone) from gone
        generation.headers = self._metering.headers(reservation)
        return call, generation

    async def _admitted(self, call: Call, generation: Generation) -> None:
        """Have the call admitted on record, and carry it out meanwhile."""
        self.open_calls += 1
        if self._energy is not None and generation.identity.isolation != "external":
            self._energy.begin(call.id)
        try:
            call.recorded = self._ledger.append(Unmade("admitted", call.id, call.admission))
            if call.guard is not None:
                # not by the call, which has the guard: each would keep the other until garbage is collected
                durable = partial(asyncio.shield, call.recorded)
                call.guard.enter(call.id, call.started, len(call.body), durable)
            await self._carry_out(call, generation)
        except ApiError as error:
            error.call = call.id
            raise
        finally:
            self.open_calls -= 1
            if self._energy is not None:
                self._energy.end(call.id)

    async def _carry_out(self, call: Call, generation: Generation) -> None:
        """Generate, record the outcome, end the answer."""
        try:
            await generation.run()
        except ClientGone:
            try:
                await generation.rest()  # what the engine still does for it counts, and holds its place
            finally:
                await self._record(call, generation, "cancelled", 499)
            return
        except asyncio.CancelledError:
            await self._record(call, generation, "failed", 503, "server_stopped")
            raise
        except Exception as problem:
            error = as_seen(problem)
            if error.status >= 500:
                _LOG.warning("call failed", call=call.id, code=error.code, reason=unquoted(error).message)
            outcome: Outcome = "failed" if error.status >= 500 else "refused"
            await self._record(call, generation, outcome, error.status, error.code)
            raise error from problem
        await self._record(call, generation, "answered", 200)
        await generation.finish()

    async def _record(
        self, call: Call, generation: Generation, outcome: Outcome, status: int, error: str | None = None
    ) -> None:
        """Append the outcome with its settlement: one record, one transaction, counted once.

        What is durable then has its admission before it: the ledger takes no outcome without.
        """
        if call.recorded.done():
            call.recorded.result()  # AuditUnavailable: who was not admitted has no outcome either
        ms = self._clock()
        result = generation.result
        energy = self._energy.end(call.id) if self._energy is not None else None
        try:
            settlement = self._metering.settle(
                call.reservation, result, -1 if energy is None else energy.millijoules
            )
        except Exception:  # a defect must not leave the call open for as long as this process lives
            self._ledger.abandon(call.id)
            raise
        make = partial(
            call.outcome, outcome, status, generation.identity, result, settlement, ms, error, energy
        )
        try:
            await self._ledger.append(Unmade("outcome", call.id, make))
        except LedgerInvariantError:  # it is not recorded, and never will be
            await call.on_record()  # which may be why
            raise
        except BaseException:  # it may be recorded, or will be closed as aborted
            self._metering.doubt(call.reservation, call.id, settlement)
            raise
        self._metering.confirm(call.reservation, settlement)
        self._metering.release(call.reservation)  # whoever sees the answer's end may ask again at once
        self._metrics.ended(call.route.name, outcome, (ms - call.started) / 1000, result.input, result.output)
        if call.guard is not None:
            for kind, action, mode in call.guard.acted():
                self._metrics.decided(kind, action, mode)
