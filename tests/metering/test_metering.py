"""Reserving, settling, giving back in memory: limits hold, nothing counts twice, nothing stays locked."""

import random
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regalia.engines import Result
from regalia.errors import ApiError
from regalia.metering import Book, Budget, Limit, Metering, Price, Reservation
from regalia.metering.period import Today

NOON = 1_795_348_800_000  # 2026-11-22T12:00:00Z
DAY = 86_400_000
PRICE = Price("price_1", "m", "EUR", 10**9, 5 * 10**8, 2 * 10**9, 10**9)  # 1 EUR a million in, 2 out
BODY = {"max_tokens": 10}


class Clocks:
    """A wall clock that may step, and a monotonic one that does not."""

    def __init__(self) -> None:
        self.wall = NOON
        self.monotonic = 1000.0

    def now(self) -> float:
        return self.monotonic


def metering(
    *budgets: Budget, limits: tuple[Limit, ...] = (), clocks: Clocks | None = None, priced: bool = True
) -> Metering:
    """Metering of the only process, with everything that its keeper would have loaded."""
    made = Metering(assumed_output=50, monotonic=(clocks or Clocks()).now)
    install(made, *budgets, limits=limits, priced=priced)
    return made


def install(made: Metering, *budgets: Budget, limits: tuple[Limit, ...] = (), priced: bool = True) -> None:
    prices = {"m": PRICE} if priced else {}
    made.install(Book(made.book.generation + 1, prices, budgets, {limit.subject: limit for limit in limits}))
    for budget in budgets:
        for ms in (NOON - DAY, NOON, NOON + DAY):
            share = made.share(budget, Today.at(ms).name(budget.period))
            share.granted, share.loaded = budget.amount, True


def reserve(made: Metering, ms: int = NOON, size: int = 100, **document: Any) -> Reservation:
    return made.reserve("o", "p", "k", "u", "chat.completions", "m", {**BODY, **document}, size, ms)


def finish(made: Metering, reservation: Reservation, used: Result) -> None:
    made.confirm(reservation, made.settle(reservation, used))
    made.release(reservation)


def refusal(made: Metering, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        reserve(made, **options)
    return raised.value


def test_without_limits_a_call_reserves_nothing_and_is_settled_all_the_same() -> None:
    made = metering()
    reservation = reserve(made)
    settlement = made.settle(reservation, Result(input=1000, output=500, cached=400))
    assert (settlement.day, settlement.organisation, settlement.project) == ("2026-11-22", "o", "p")
    assert (settlement.key, settlement.user, settlement.price) == ("k", "u", "price_1")
    assert settlement.cost == 600 * 1000 + 400 * 500 + 500 * 2000  # 10^-9 EUR
    assert made.headers(reservation) == ()


def test_a_call_on_a_route_that_generates_nothing_costs_nothing() -> None:
    made = metering(Budget("b", "project:p", "month", "EUR", 0))
    reservation = made.reserve("o", "p", "k", "u", "tokenize", "m", {"prompt": "x"}, 30, NOON)
    settlement = made.settle(reservation, Result())
    assert (settlement.cost, settlement.price, settlement.tokens) == (0, "", 0)


@pytest.mark.parametrize("scope", ["organisation:o", "project:p", "key:k", "user:u"])
def test_a_hard_budget_of_any_scope_refuses_what_could_exceed_it(scope: str) -> None:
    made = metering(Budget("b", scope, "day", "tokens", 1000))
    first = reserve(made)  # 100 + 512 + 10
    blocked = refusal(made)
    assert (blocked.status, blocked.code, blocked.retry_after) == (429, "rate_limit_exceeded", 1)
    finish(made, first, Result(input=100, output=10))
    finish(made, reserve(made), Result(input=400, output=10))
    over = refusal(made)
    assert (over.status, over.code, over.retry_after) == (429, "insufficient_quota", 12 * 3600)
    assert "1000 tokens a day" in over.message
    assert "480 tokens is left" in over.message
    assert "2026-11-23T00:00:00Z" in over.message
    assert reserve(made, ms=NOON + DAY).charges, "the next day has a budget of its own"


def test_a_budget_of_money_counts_what_calls_cost() -> None:
    made = metering(Budget("b", "project:p", "total", "EUR", 10**6))  # 0.001 EUR
    finish(made, reserve(made), Result(input=150, output=100))  # 350_000
    share = made.shares["b", "total"]
    assert (share.spent, share.reserved) == (350_000, 0)
    over = refusal(made, max_tokens=100)  # 612 * 1000 + 100 * 2000
    assert (over.code, over.retry_after) == ("insufficient_quota", None)
    assert "0.001 EUR in total" in over.message


def test_a_budget_of_money_takes_no_call_whose_price_is_not_known() -> None:
    euro = Budget("b", "project:p", "month", "EUR", 10**12)
    assert refusal(metering(euro, priced=False)).code == "model_not_priced"
    shilling = Budget("b", "project:p", "month", "KES", 10**12)
    foreign = refusal(metering(shilling))
    assert (foreign.status, foreign.code) == (403, "model_not_priced")
    assert "EUR only" in foreign.message


def test_a_soft_budget_refuses_nothing() -> None:
    made = metering(Budget("b", "project:p", "month", "tokens", 1, hard=False))
    assert reserve(made).charges == ()


def test_under_a_hard_budget_the_engine_is_told_the_output_that_was_reserved() -> None:
    for budgets, told in (((), False), ((Budget("b", "project:p", "month", "tokens", 10**6),), True)):
        made = metering(*budgets)
        for route, field in (("chat.completions", "max_tokens"), ("responses", "max_output_tokens")):
            document: dict[str, Any] = {}
            made.reserve("o", "p", "k", "u", route, "m", document, 10, NOON)
            assert document == ({field: 50} if told else {})


def test_requests_and_tokens_a_minute_are_limited_and_told_in_openais_headers() -> None:
    clocks = Clocks()
    made = metering(limits=(Limit("key:k", 2, 2000), Limit("project:p", 10, None)), clocks=clocks)
    first = reserve(made)
    assert dict(made.headers(first)) == {
        b"x-ratelimit-limit-requests": b"2",
        b"x-ratelimit-remaining-requests": b"1",
        b"x-ratelimit-reset-requests": b"1m1s",
        b"x-ratelimit-limit-tokens": b"2000",
        b"x-ratelimit-remaining-tokens": b"1378",
        b"x-ratelimit-reset-tokens": b"1m1s",
    }
    finish(made, first, Result(input=20, output=5))
    assert dict(made.headers(first))[b"x-ratelimit-remaining-tokens"] == b"1975", "what was not used is free"
    clocks.monotonic += 10
    second = reserve(made, size=1000)
    refused = refusal(made)
    assert (refused.status, refused.code, refused.retry_after) == (429, "rate_limit_exceeded", 51)
    assert "key on requests per minute: limit 2, used 2" in refused.message
    assert dict(refused.headers)[b"x-ratelimit-remaining-requests"] == b"0"
    made.release(second)
    clocks.monotonic += 51
    assert reserve(made)


def test_a_request_that_no_minute_can_hold_is_told_so() -> None:
    refused = refusal(metering(limits=(Limit("key:k", None, 500),)))
    assert refused.retry_after is None
    assert "more than the key's limit of 500 tokens a minute" in refused.message


def test_calls_at_once_are_limited_and_free_again_however_they_end() -> None:
    made = metering(limits=(Limit("project:p", concurrent=2),))
    first, second = reserve(made), reserve(made)
    assert "limit of 2 calls at once" in refusal(made).message
    finish(made, first, Result())
    made.release(first)  # a second time changes nothing
    third = reserve(made)
    assert refusal(made)
    made.release(second)
    made.release(third)
    assert [reserve(made), reserve(made)]


def test_each_one_without_a_limit_of_its_own_has_the_common_one() -> None:
    made = metering(limits=(Limit("key:*", 1), Limit("key:special", 3)))

    def ask(key: str) -> None:
        made.reserve("o", "p", key, "", "chat.completions", "m", dict(BODY), 10, NOON)

    for key, allowed in (("a", 1), ("b", 1), ("special", 3)):
        for _ in range(allowed):
            ask(key)
        with pytest.raises(ApiError):
            ask(key)


@pytest.mark.parametrize(
    ("budgets", "limits"),
    [
        ((), (Limit("project:p", requests=3),)),
        ((), (Limit("project:p", tokens=2000),)),
        ((), (Limit("organisation:o", concurrent=3),)),
        ((Budget("b", "project:p", "month", "tokens", 2000),), ()),
    ],
)
def test_more_keys_of_a_project_do_not_make_it_more(
    budgets: tuple[Budget, ...], limits: tuple[Limit, ...]
) -> None:
    made = metering(*budgets, limits=limits)
    passed = 0
    for number in range(20):
        try:
            made.reserve(
                "o", "p", f"key {number}", f"user {number}", "chat.completions", "m", dict(BODY), 100, NOON
            )
        except ApiError as error:
            assert error.status == 429
        else:
            passed += 1
    assert 0 < passed <= 3


def test_a_call_that_one_limit_refuses_is_counted_by_none() -> None:
    made = metering(
        Budget("small", "project:p", "month", "tokens", 100),
        Budget("large", "organisation:o", "month", "tokens", 10**6),
        limits=(Limit("key:k", 5, 10**6, 5),),
    )
    for _ in range(20):
        assert refusal(made).code == "insufficient_quota"
    install(made, Budget("large", "organisation:o", "month", "tokens", 10**6), limits=(Limit("key:k", 5),))
    assert made.shares["large", "2026-11"].reserved == 0
    assert dict(made.headers(reserve(made)))[b"x-ratelimit-remaining-requests"] == b"4"


def test_steps_of_the_wall_clock_neither_double_nor_freeze_a_window() -> None:
    clocks = Clocks()
    made = metering(limits=(Limit("key:k", 3),), clocks=clocks)
    for ms in (NOON, NOON + 400 * DAY, NOON - 400 * DAY):
        reserve(made, ms=ms)
    for ms in (NOON, NOON + 400 * DAY, NOON - 400 * DAY):
        assert refusal(made, ms=ms).retry_after == 61
    clocks.monotonic += 61
    for _ in range(3):
        reserve(made, ms=NOON - 400 * DAY)


def test_a_step_of_the_wall_clock_between_reserving_and_settling_moves_nothing_to_another_period() -> None:
    made = metering(Budget("b", "project:p", "day", "tokens", 10_000))
    late = reserve(made, ms=NOON)
    finish(made, reserve(made, ms=NOON + DAY), Result(input=7))
    settlement = made.settle(late, Result(input=5))
    made.confirm(late, settlement)
    assert settlement.day == "2026-11-22"
    spent = {period: share.spent for (_, period), share in made.shares.items() if share.spent}
    assert spent == {"2026-11-22": 5, "2026-11-23": 7}


def test_a_doubtful_call_stays_reserved_until_its_record_says_how_it_ended() -> None:
    budget = Budget("b", "project:p", "month", "tokens", 10_000)
    made = metering(budget, limits=(Limit("key:k", concurrent=1),))
    share = made.shares["b", "2026-11"]
    for recorded, spent in ((False, 0), (True, 15)):
        reservation = reserve(made)
        made.doubt(reservation, "call_1", made.settle(reservation, Result(input=10, output=5)))
        made.release(reservation)
        assert (share.reserved, share.spent) == (622, 0)
        made.release(reserve(made))  # it is not at work any more, though
        made.resolve("call_1", recorded)
        assert (share.reserved, share.spent) == (0, spent)


def test_a_budget_that_comes_while_a_call_is_under_way_counts_it_as_the_database_does() -> None:
    made = metering()
    reservation = reserve(made)
    install(made, Budget("b", "project:p", "month", "tokens", 10_000))
    finish(made, reservation, Result(input=10, output=5))
    assert made.shares["b", "2026-11"].spent == 15


def test_where_several_processes_spend_a_budget_each_spends_its_slice_only_while_it_is_fresh() -> None:
    clocks, woken = Clocks(), list[int]()
    made = Metering(sole=False, monotonic=clocks.now, wake=lambda: woken.append(1))
    install(made, Budget("b", "project:p", "month", "tokens", 10_000))
    made.shares["b", "2026-11"].granted = 1000
    assert refusal(made).code == "metering_unavailable"
    made.trust(clocks.monotonic)
    first = reserve(made)
    dry = refusal(made)
    assert (dry.status, dry.code, dry.retry_after) == (429, "rate_limit_exceeded", 1)
    assert woken, "the next slice is asked for"
    made.release(first)
    clocks.monotonic += 3.5
    assert refusal(made).status == 503, "the database is gone: nothing passes uncounted"


class World:
    """Metering under arbitrary events, and beside it what it should have counted."""

    BUDGETS = (
        Budget("p", "project:p", "day", "tokens", 5000),
        Budget("k", "key:k", "total", "EUR", 9 * 10**6),
    )
    LIMITS = (Limit("key:k", concurrent=4), Limit("project:p", 50, 20_000))

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.made = metering(*self.BUDGETS, limits=self.LIMITS, clocks=self.clocks)
        self.open: list[Reservation] = []
        self.ids = count()  # not drawn: two events may draw alike
        self.spent: dict[tuple[str, str], int] = {}

    def reserve(self, chance: random.Random) -> None:
        try:
            most = chance.randrange(1, 99)
            self.open.append(reserve(self.made, self.clocks.wall, chance.randrange(300), max_tokens=most))
        except ApiError as error:
            assert error.status == 429

    def finish(self, chance: random.Random) -> None:
        if self.open:
            reservation, used = self._one(chance)
            finish(self.made, reservation, used)
            self._count(reservation, used.input)

    def drop(self, chance: random.Random) -> None:
        if self.open:
            self.made.release(self._one(chance)[0])

    def doubt(self, chance: random.Random) -> None:
        if self.open:
            reservation, used = self._one(chance)
            call = f"call_{next(self.ids)}"
            self.made.doubt(reservation, call, self.made.settle(reservation, used))
            self.made.release(reservation)

    def resolve(self, chance: random.Random) -> None:
        if self.made.doubts:
            call = chance.choice(sorted(self.made.doubts))
            reservation, settlement = self.made.doubts[call]
            recorded = chance.random() < 0.5
            self.made.resolve(call, recorded)
            if recorded:
                self._count(reservation, settlement.input)

    def install(self, _: random.Random) -> None:
        install(self.made, *self.BUDGETS, limits=self.LIMITS)

    def wall(self, chance: random.Random) -> None:
        self.clocks.wall = NOON + chance.choice((-1, 0, 1)) * DAY

    def wait(self, chance: random.Random) -> None:
        self.clocks.monotonic += chance.random() * 30

    def check(self) -> None:
        for place, share in self.made.shares.items():
            assert share.spent == self.spent.get(place, 0)
            assert share.spent + share.reserved <= share.budget.amount, place

    def end(self, chance: random.Random) -> None:
        """Everything ends; nothing is left of it."""
        while self.open:
            self.drop(chance)
        while self.made.doubts:
            self.resolve(chance)
        self.check()
        assert all(share.reserved == 0 for share in self.made.shares.values())
        assert all(gate.open == 0 for gate in self.made._gates.values())
        self.clocks.monotonic += 61
        now = int(self.clocks.monotonic)
        assert all(window.remaining(now) == window.limit for window in self.made._windows.values())

    def _one(self, chance: random.Random) -> tuple[Reservation, Result]:
        reservation = self.open.pop(chance.randrange(len(self.open)))
        return reservation, Result(input=chance.randrange(reservation.most // 2))

    def _count(self, reservation: Reservation, tokens: int) -> None:
        for place, amount in ((("p", Today.at(reservation.ms).day), tokens), (("k", "total"), tokens * 1000)):
            self.spent[place] = self.spent.get(place, 0) + amount


EVENTS = ("reserve", "reserve", "reserve", "finish", "drop", "doubt", "resolve", "install", "wall", "wait")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 2**32)), max_size=120))
def test_whatever_happens_budgets_are_kept_to_and_nothing_stays_locked(events: list[tuple[str, int]]) -> None:
    world = World()
    for event, seed in events:
        getattr(world, event)(random.Random(seed))
        world.check()
    world.end(random.Random(0))
