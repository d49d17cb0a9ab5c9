"""What a call may use, reserved before it is made, and what it used, settled exactly once. In memory only.

`reserve` counts the most that a call can use against every limit and hard budget that holds for it, or
refuses it. `settle` says what it used; that goes with the call's outcome into the ledger, which writes it in
the record's own transaction. Then `confirm` counts it here too. `release` ends the reservation, however the
call went, and gives back what was not settled. A call whose outcome may or may not be recorded is `doubtful`:
it stays counted until the record itself says how it ended.

One event loop owns it. Nothing here waits; what must be read or written is `regalia.metering.keeper`'s.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Never

from regalia.errors import ApiError
from regalia.ledger import Settlement
from regalia.metering import refusals
from regalia.metering.book import TOKENS, Book, Budget, Who
from regalia.metering.estimate import Most, at_most
from regalia.metering.money import Price, Tokens
from regalia.metering.period import Calendar
from regalia.metering.share import Share
from regalia.metering.window import Slot, Window

TRUST_S = 3.0
"""So long after the database was last read, slices of budgets are spent; others get them only later."""
MAX_PLANS = 100_000
_FREE_ROUTES = frozenset({"tokenize", "detokenize"})


class Gate:
    """How many calls are under way, and may be."""

    __slots__ = ("limit", "open", "scope")

    def __init__(self, scope: str, limit: int) -> None:
        self.scope = scope
        self.limit = limit
        self.open = 0


class Plan:
    """What holds for the calls of someone to a model, looked up once."""

    __slots__ = ("budgets", "gates", "generation", "idle", "model", "price", "requests", "tokens", "who")

    def __init__(
        self,
        who: Who,
        model: str,
        generation: int,
        price: Price | None,
        gates: tuple[Gate, ...] = (),
        requests: tuple[tuple[str, Window], ...] = (),
        tokens: tuple[tuple[str, Window], ...] = (),
        budgets: tuple[Budget, ...] = (),
    ) -> None:
        self.who = who
        self.model = model
        self.generation = generation
        self.price = price
        self.gates = gates
        self.requests = requests
        self.tokens = tokens
        self.budgets = budgets
        self.idle = not (gates or requests or tokens or budgets)


class Reservation:
    """What one call holds. Made by `Metering.reserve`, ended by `Metering.release`."""

    __slots__ = ("charges", "doubtful", "most", "ms", "plan", "released", "route", "settled", "slots")

    def __init__(self, plan: Plan, route: str, ms: int) -> None:
        self.plan = plan
        self.route = route
        self.ms = ms
        self.most = 0
        self.slots: Sequence[tuple[Window, Slot]] = ()
        self.charges: Sequence[tuple[Share, int]] = ()
        self.settled = False
        self.doubtful = False
        self.released = False


class Metering:
    """Everything that is counted. `sole` means that no other process spends the same budgets."""

    def __init__(
        self,
        *,
        sole: bool = True,
        assumed_output: int = 4096,
        monotonic: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.sole = sole
        self.wake = wake
        self.shares: dict[tuple[str, str], Share] = {}
        self.doubts: dict[str, tuple[Reservation, Settlement]] = {}  # by call
        self._assumed = assumed_output
        self._monotonic = monotonic
        self._calendar = Calendar()
        self._book = Book()
        self._processes = 1
        self._trusted_until = 0.0
        self._plans: dict[tuple[str, str, str, str, str], Plan] = {}
        self._gates: dict[str, Gate] = {}
        self._windows: dict[tuple[str, str], Window] = {}

    # Before and after a call

    def reserve(
        self,
        organisation: str,
        project: str,
        key: str,
        user: str,
        route: str,
        model: str,
        document: dict[str, Any],
        size: int,
        ms: int,
    ) -> Reservation:
        """Reserve the most that a request of `size` bytes, admitted at `ms`, can use.

        Under a hard budget a document that sets no limit for its output gets one. Raises ApiError: 429 for a
        limit or a budget, 403 for a model without a price, 503 where budgets can't be counted.
        """
        plan = self._plans.get((organisation, project, key, user, model))
        if plan is None:
            plan = self._plan(Who(organisation, project, key, user), model)
        reservation = Reservation(plan, route, ms)
        if not plan.idle:
            most = at_most(route, document, size, self._assumed)
            self._admit(reservation, plan, most)
            if plan.budgets and most.unset is not None:
                document[most.unset] = self._assumed
        return reservation

    def settle(self, reservation: Reservation, used: Tokens, energy: int = -1) -> Settlement:
        """What the call used and costs, to go with its outcome's entry."""
        plan = reservation.plan
        price = None if reservation.route in _FREE_ROUTES else plan.price
        who = plan.who
        return Settlement(
            day=self._calendar.at(reservation.ms).day,
            organisation=who.organisation,
            project=who.project,
            key=who.key,
            user=who.user,
            route=reservation.route,
            model=plan.model,
            price=price.id if price else "",
            currency=price.currency if price else "",
            input=used.input,
            cached=used.cached,
            output=used.output,
            cost=price.cost(reservation.route, used) if price else 0,
            energy=energy,
        )

    def confirm(self, reservation: Reservation, settlement: Settlement) -> None:
        """The outcome is durable, and with it the settlement: count it in place of the reservation."""
        if reservation.settled:
            return
        reservation.settled = True
        for share, amount in reservation.charges:
            share.reserved -= amount
            share.spent += share.used_by(settlement)
        if reservation.slots:
            difference = settlement.tokens - reservation.most
            for window, slot in reservation.slots:
                window.adjust(slot, difference)
        if reservation.plan.generation != self._book.generation:
            self._charge_newer(reservation, settlement)

    def doubt(self, reservation: Reservation, call: str, settlement: Settlement) -> None:
        """The outcome may or may not be recorded: keep its reservation until that is known."""
        reservation.doubtful = True
        self.doubts[call] = (reservation, settlement)
        self.wake()

    def resolve(self, call: str, recorded: bool) -> None:
        """It is known now whether the outcome was recorded as it was settled, or the call was aborted."""
        reservation, settlement = self.doubts.pop(call)
        if recorded:
            self.confirm(reservation, settlement)
        else:
            self._give_back(reservation)

    def release(self, reservation: Reservation) -> None:
        """The call is over. What was not settled is given back."""
        if reservation.released:
            return
        reservation.released = True
        for gate in reservation.plan.gates:
            gate.open -= 1
        if not reservation.settled and not reservation.doubtful:
            self._give_back(reservation)

    def headers(self, reservation: Reservation) -> refusals.Headers:
        """The `x-ratelimit-…` headers: of several limits the one with the least left."""
        plan = reservation.plan
        if plan.idle:
            return ()
        return self._headers(plan)

    # What is set, and what the database says

    def install(self, book: Book, processes: int = 1) -> None:
        """Have another book hold, and limits be shared among so many processes, from the next call on."""
        self._book = book
        self._processes = processes
        self._plans = {}
        current = {budget.id for budget in book.budgets if budget.hard}
        for (name, period), share in list(self.shares.items()):
            if name not in current and not share.reserved:
                del self.shares[name, period]
        now = int(self._monotonic())
        for subject, window in list(self._windows.items()):
            if window.remaining(now) == window.limit:
                del self._windows[subject]
        self._gates = {subject: gate for subject, gate in self._gates.items() if gate.open}

    @property
    def book(self) -> Book:
        """What holds."""
        return self._book

    @property
    def processes(self) -> int:
        """Among how many processes limits are shared."""
        return self._processes

    def trust(self, since: float) -> None:
        """The database was read at `since` (monotonic)."""
        self._trusted_until = since + TRUST_S

    def share(self, budget: Budget, period: str) -> Share:
        """This process's share of a budget; a new one has nothing yet."""
        share = self.shares.get((budget.id, period))
        if share is None:
            share = self.shares[budget.id, period] = Share(budget, period)
        return share

    # Deciding

    def _admit(self, reservation: Reservation, plan: Plan, most: Most) -> None:
        """Check every limit, then count the call in all of them; raise where one has no room."""
        second = int(self._monotonic())
        tokens = reservation.most = most.input + most.output
        for gate in plan.gates:
            if gate.open >= gate.limit:
                raise self._with_headers(refusals.too_many_at_once(gate.scope, gate.limit), plan)
        for scope, window in plan.requests:
            if window.room(second) < 1:
                self._refuse_now(plan, scope, "requests", window, 1, second)
        for scope, window in plan.tokens:
            if window.room(second) < tokens:
                self._refuse_now(plan, scope, "tokens", window, tokens, second)
        charges = self._charges(reservation, plan, most) if plan.budgets else ()
        # Nothing raises from here on: all are counted, or none.
        for gate in plan.gates:
            gate.open += 1
        for _, window in plan.requests:
            window.take(1, second)
        if plan.tokens:
            reservation.slots = [(window, window.take(tokens, second)) for _, window in plan.tokens]
        for share, amount in charges:
            share.reserved += amount
            if not self.sole and share.available < amount * 4:
                self.wake()
        reservation.charges = charges

    def _refuse_now(
        self, plan: Plan, scope: str, what: str, window: Window, amount: int, second: int
    ) -> Never:
        """Refuse what does not fit a window."""
        wait = window.wait(amount, second)
        refusal = refusals.too_many_in_a_minute(scope, what, window.limit, window.used, amount, wait)
        raise self._with_headers(refusal, plan)

    def _charges(self, reservation: Reservation, plan: Plan, most: Most) -> list[tuple[Share, int]]:
        """What to reserve of each budget. Raises ApiError where there is not so much."""
        today = self._calendar.at(reservation.ms)
        now = self._monotonic()
        if not self.sole and now > self._trusted_until:
            raise refusals.unavailable()
        charges = []
        for budget in plan.budgets:
            if budget.unit == TOKENS:
                amount = most.input + most.output
            else:
                amount = _most_money(budget, plan, reservation.route, most)
            name = today.name(budget.period)
            share = self.shares.get((budget.id, name)) or self.share(budget, name)
            share.last_used = now
            if amount > share.granted - share.spent - share.reserved:
                self._refuse(share, amount, today.end(budget.period), reservation.ms)
            charges.append((share, amount))
        return charges

    def _refuse(self, share: Share, amount: int, ends: int | None, ms: int) -> None:
        if not share.loaded:
            self.wake()
            raise refusals.unavailable()
        left = share.budget.amount - share.others - share.spent - share.reserved
        if not self.sole and amount <= left:
            share.wanted = max(share.wanted, amount)
            self.wake()
            raise refusals.slice_awaited(share)
        raise refusals.budget_used_up(share, amount, ends, ms)

    def _give_back(self, reservation: Reservation) -> None:
        reservation.settled = True
        for share, amount in reservation.charges:
            share.reserved -= amount
        for window, slot in reservation.slots:
            window.adjust(slot, -reservation.most)

    def _charge_newer(self, reservation: Reservation, settlement: Settlement) -> None:
        """Count the call in budgets, too, that came while it was under way: the database does."""
        plan = reservation.plan
        reserved = {share.budget.id for share, _ in reservation.charges}
        today = self._calendar.at(reservation.ms)
        for budget in self._book.budgets_of(plan.who):
            share = self.shares.get((budget.id, today.name(budget.period)))
            if share is not None and budget.id not in reserved:
                share.spent += share.used_by(settlement)

    def _plan(self, who: Who, model: str) -> Plan:
        book = self._book
        gates: list[Gate] = []
        requests: list[tuple[str, Window]] = []
        tokens: list[tuple[str, Window]] = []
        for subject, limit in book.limits_of(who):
            scope = subject.partition(":")[0]
            if limit.concurrent is not None:
                gate = self._gates.setdefault(subject, Gate(scope, 0))
                gate.limit = self._fraction(limit.concurrent)
                gates.append(gate)
            for name, most, windows in (
                ("requests", limit.requests, requests),
                ("tokens", limit.tokens, tokens),
            ):
                if most is not None:
                    window = self._windows.setdefault((subject, name), Window(0))
                    window.limit = self._fraction(most)
                    windows.append((scope, window))
        plan = Plan(
            who,
            model,
            book.generation,
            book.prices.get(model),
            tuple(gates),
            tuple(requests),
            tuple(tokens),
            book.budgets_of(who),
        )
        if len(self._plans) >= MAX_PLANS:
            self._plans = {}
        self._plans[who.organisation, who.project, who.key, who.user, model] = plan
        return plan

    def _fraction(self, limit: int) -> int:
        """This process's part of a limit."""
        return max(limit // self._processes, 1) if limit else 0

    def _with_headers(self, refusal: ApiError, plan: Plan) -> ApiError:
        refusal.headers = self._headers(plan)
        return refusal

    def _headers(self, plan: Plan) -> refusals.Headers:
        second = int(self._monotonic())
        found: refusals.Headers = ()
        if plan.requests:
            found = refusals.about_window(b"requests", _tightest(plan.requests, second), second)
        if plan.tokens:
            found += refusals.about_window(b"tokens", _tightest(plan.tokens, second), second)
        return found


def _tightest(windows: tuple[tuple[str, Window], ...], second: int) -> Window:
    """The window with the least left."""
    tightest = windows[0][1]
    if len(windows) > 1:
        least = tightest.room(second)
        for _, window in windows[1:]:
            room = window.room(second)
            if room < least:
                tightest, least = window, room
    return tightest


def _most_money(budget: Budget, plan: Plan, route: str, most: Most) -> int:
    """The most that a call can use of a budget of money. Raises ApiError 403 where its price is not known."""
    if route in _FREE_ROUTES:
        return 0
    price = plan.price
    if price is None or price.currency != budget.unit:
        raise refusals.not_priced(plan.model, budget.unit, price.currency if price else None)
    return price.most(route, most.input, most.output)
