"""`usage --verify` finds any difference between log and counters, by a single token."""

import json
from typing import Any

import msgspec
import pytest

from regalia.metering import Budget
from regalia.metering.audit import Audit, Counter, Verdict

NOON = 1_795_348_800_000  # 2026-11-22T12:00:00Z
DAY = 86_400_000
WHERE = ("2026-11-22", "o", "p", "k", "u", "chat.completions", "m", "price_1", "EUR")
COUNTER = Counter(*WHERE, requests=2, input=30, cached=4, output=12, cost=52_000, measured=0, energy=0)
BUDGETS = (Budget("b", "project:p", "month", "EUR", 10**9), Budget("t", "key:k", "day", "tokens", 100))
SPENT = {("b", "2026-11"): 52_000, ("t", "2026-11-22"): 42}


def price() -> dict[str, Any]:
    return {
        "kind": "admin.price_set", "time": NOON, "price": "price_1", "model": "m", "currency": "EUR",
        "input": "1", "cached": "0.5", "output": "2", "embedding": "0",
    }  # fmt: skip


def call(name: str, kind: str = "call.answered", **fields: Any) -> list[dict[str, Any]]:
    common = {"call": name, "project": "pseudonym", "route": "chat.completions", "time": NOON}
    outcome = {
        "kind": kind, "model": {"name": "m"}, "started": NOON,
        "usage": {"input": 15, "output": 6, "cached": 2, "total": 21},
        "cost": {"amount": "0.000026", "currency": "EUR", "price": "price_1"},
    }  # fmt: skip
    return [{"kind": "call.admitted", "model": "m", **common}, common | outcome | fields]


def audited(
    records: list[dict[str, Any]],
    counters: tuple[Counter, ...] = (COUNTER,),
    spent: dict[tuple[str, str], int] | None = None,
    **options: Any,
) -> Verdict:
    audit = Audit(**options)
    for index, record in enumerate(records):
        audit.add(index, json.dumps(record).encode())
    audit.compare(counters, lambda project, ms: "pseudonym" if project == "p" else f"of {project}")
    audit.compare_budgets(counters, BUDGETS, SPENT if spent is None else spent)
    return audit.verdict(len(BUDGETS))


GOOD = [price(), *call("call_1"), *call("call_2", "call.cancelled")]


def test_what_agrees_has_no_difference() -> None:
    verdict = audited(GOOD)
    assert verdict.differences == []
    assert (verdict.records, verdict.calls, verdict.input, verdict.output) == (5, 2, 30, 12)
    assert verdict.cost == {"EUR": "0.000052"}


def test_an_aborted_call_counts_nothing() -> None:
    aborted = [*call("call_3")[:1], {"kind": "call.aborted", "call": "call_3", "time": NOON}]
    assert audited([*GOOD, *aborted]).differences == []


@pytest.mark.parametrize("field", ["requests", "input", "cached", "output", "cost", "measured", "energy"])
def test_a_counter_that_is_off_by_one_is_found(field: str) -> None:
    off = msgspec.structs.replace(COUNTER, **{field: getattr(COUNTER, field) + 1})
    assert field in {one.what for one in audited(GOOD, (off,)).differences}


@pytest.mark.parametrize("field", ["day", "project", "route", "model", "price"])
def test_a_counter_in_another_place_is_found(field: str) -> None:
    other = "2026-11-21" if field == "day" else "another"
    found = audited(GOOD, (msgspec.structs.replace(COUNTER, **{field: other}),)).differences
    assert {one.what for one in found} >= {"requests", "input", "output"}


@pytest.mark.parametrize(
    "records",
    [
        [price(), *call("call_1")],
        [*GOOD, *call("call_3")],
        [price(), *call("call_1"), *call("call_2", usage={"input": 15, "output": 7, "total": 22})],
        [price(), *call("call_1"), *call("call_2", project="someone else's")],
        [price(), *call("call_1"), *call("call_2", started=NOON + DAY)],
        [price(), *call("call_1"), *call("call_2", cost=None)],
        [{**price(), "output": "3"}, *GOOD[1:]],
        GOOD[1:],
    ],
    ids=["missing", "one more", "a token more", "project", "day", "unpriced", "price", "price not on record"],
)
def test_records_that_the_counters_do_not_show_are_found(records: list[dict[str, Any]]) -> None:
    assert audited(records).differences


def test_a_cost_that_the_price_does_not_make_is_found() -> None:
    wrong = {"amount": "0.000027", "currency": "EUR", "price": "price_1"}
    (found,) = audited([price(), *call("call_1"), *call("call_2", cost=wrong)]).differences
    assert (found.where, found.log, found.counters) == ("call_2", "0.000026", "0.000027")


@pytest.mark.parametrize("place", [("b", "2026-11"), ("t", "2026-11-22"), ("t", "2026-11-21")])
def test_a_budget_that_has_spent_something_else_is_found(place: tuple[str, str]) -> None:
    (found,) = audited(GOOD, spent=SPENT | {place: SPENT.get(place, 0) + 1}).differences
    assert place[0] in found.where


def test_only_the_days_that_are_asked_for_are_compared() -> None:
    other_day = [*GOOD, *call("call_3", started=NOON + DAY)]
    assert audited(other_day, last="2026-11-22").differences == []
    assert audited(other_day, first="2026-11-23").calls == 1


def test_outcomes_before_metering_began_are_not_counted() -> None:
    assert audited([*call("call_0"), *GOOD], since=2).differences == []


def test_of_a_log_without_its_beginning_whole_days_are_compared() -> None:
    late: dict[str, Any] = {"time": NOON + DAY, "started": NOON + DAY}
    audit = Audit(begins=256)
    for index, record in enumerate([*call("call_1"), *call("call_2", **late, cost=None)], 256):
        audit.add(index, json.dumps(record).encode())
    tomorrow = msgspec.structs.replace(
        COUNTER, day="2026-11-23", price="", currency="", requests=1, input=15, cached=2, output=6, cost=0
    )
    audit.compare((COUNTER, tomorrow), lambda project, ms: "pseudonym")
    assert audit.differences == []
