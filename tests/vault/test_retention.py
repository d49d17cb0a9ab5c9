"""What may be deleted: never what a hold covers, never before its time, always once it is due and free."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from regalia.vault import Bucket
from regalia.vault.retention import (
    DAY_MS,
    LONGEST_CALL_MS,
    Call,
    Hold,
    RetentionClass,
    RetentionError,
    due,
    erasable,
    holds_on_project,
    index_due,
    lift,
)

HOUR = 3_600_000
CLASSES = {"short": RetentionClass("short", 1, 30), "long": RetentionClass("long", 365, 365)}
projects = st.sampled_from(["alpha", "beta"])
times = st.integers(0, 60).map(lambda hours: hours * HOUR // 2 + 10 * DAY_MS)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    return Call(f"call-{draw(st.integers(0, 30))}", draw(projects), draw(times))


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    begins, ends = sorted((draw(times), draw(times)))
    assume(begins < ends)
    kind = draw(st.sampled_from(["project", "period", "both", "from", "until", "calls"]))
    lifted = draw(st.sampled_from([None, None, 5]))
    return Hold(
        "hold-1",
        "a lawsuit",
        "judge",
        1,
        project=draw(projects) if kind in ("project", "both", "calls") else "",
        calls=frozenset(f"call-{number}" for number in draw(st.sets(st.integers(0, 30), min_size=1)))
        if kind == "calls"
        else frozenset(),
        begins=begins if kind in ("period", "both", "from", "calls") else None,
        ends=ends if kind in ("period", "both", "until", "calls") else None,
        lifted=lifted,
        lifted_by="clerk" if lifted else "",
    )


@st.composite
def buckets(draw: st.DrawFn) -> Bucket:
    begins = draw(times) // HOUR * HOUR
    return Bucket(
        draw(st.integers(1, 99)),
        draw(projects),
        draw(st.sampled_from(sorted(CLASSES))),
        begins,
        begins + HOUR,
        1,
        1,
    )


def in_bucket(call: Call, bucket: Bucket) -> bool:
    """Whether some content of the call may have been sealed in the bucket."""
    return call.project == bucket.project and bucket.begins - LONGEST_CALL_MS <= call.admitted < bucket.ends


@given(st.lists(buckets()), st.lists(holds()), st.lists(calls()), st.integers(0, 800 * DAY_MS))
def test_no_held_call_is_in_a_bucket_that_is_destroyed(
    some: list[Bucket], kept: list[Hold], every: list[Call], now: int
) -> None:
    decision = due(some, CLASSES, kept, now)
    for bucket in decision.whole:
        assert not [call for call in every if in_bucket(call, bucket) and any(h.covers(call) for h in kept)]


@given(st.lists(buckets()), st.lists(holds()), st.lists(calls()), st.integers(0, 800 * DAY_MS))
def test_every_call_is_held_in_a_bucket_that_is_wholly_held(
    some: list[Bucket], kept: list[Hold], every: list[Call], now: int
) -> None:
    for bucket in due(some, CLASSES, kept, now).held:
        inside = [call for call in every if in_bucket(call, bucket)]
        assert all(any(hold.covers(call) for hold in kept) for call in inside)


@given(
    st.lists(buckets(), unique_by=lambda bucket: bucket.id), st.lists(holds()), st.integers(0, 800 * DAY_MS)
)
def test_what_is_due_is_decided_upon_and_nothing_else(some: list[Bucket], kept: list[Hold], now: int) -> None:
    decision = due(some, CLASSES, kept, now)
    decided = [*decision.whole, *decision.held, *decision.mixed]
    over = [b for b in some if b.ends + CLASSES[b.retention_class].content_days * DAY_MS <= now]
    assert sorted(bucket.id for bucket in decided) == sorted(bucket.id for bucket in over)


@given(st.lists(buckets()), st.integers(0, 800 * DAY_MS))
def test_without_holds_all_that_is_due_goes(some: list[Bucket], now: int) -> None:
    decision = due(some, CLASSES, [], now)
    assert decision.held == decision.mixed == ()


@given(st.lists(buckets()), st.lists(holds(), min_size=1), st.integers(0, 800 * DAY_MS))
def test_lifted_holds_keep_nothing(some: list[Bucket], kept: list[Hold], now: int) -> None:
    lifted = [lift(hold, "someone else", now) if hold.active else hold for hold in kept]
    assert due(some, CLASSES, lifted, now) == due(some, CLASSES, [], now)
    assert holds_on_project("alpha", lifted) == []


@given(st.lists(calls()), st.lists(holds()))
def test_calls_are_erased_or_kept_and_never_both(every: list[Call], kept: list[Hold]) -> None:
    every = list({call.id: call for call in every}.values())
    erase, keep = erasable(every, kept)
    assert not erase & keep
    assert erase | keep == {call.id for call in every}
    assert keep == {call.id for call in every if any(hold.covers(call) for hold in kept)}


@given(st.lists(calls()), st.lists(holds()))
def test_a_project_is_free_to_erase_only_if_each_of_its_calls_is(every: list[Call], kept: list[Hold]) -> None:
    if not holds_on_project("alpha", kept):
        assert not erasable([call for call in every if call.project == "alpha"], kept)[1]


@given(st.lists(calls()), st.lists(holds()), holds())
def test_another_hold_never_frees_anything(every: list[Call], kept: list[Hold], more: Hold) -> None:
    assert erasable(every, [*kept, more])[0] <= erasable(every, kept)[0]


@given(holds(), st.text())
def test_whoever_placed_a_hold_cannot_lift_it(hold: Hold, actor: str) -> None:
    assume(hold.active)
    with pytest.raises(RetentionError, match="someone else"):
        lift(hold, hold.placed_by, 9)
    if actor and actor != hold.placed_by:
        lifted = lift(hold, actor, 9)
        assert (lifted.lifted_by, lifted.lifted, lifted.active) == (actor, 9, False)
        with pytest.raises(RetentionError, match="already"):
            lift(lifted, "a third", 10)


def test_a_hold_is_not_lifted_by_nobody() -> None:
    with pytest.raises(RetentionError):
        lift(Hold("h", "why", "judge", 1, project="alpha"), "", 2)


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"calls": frozenset({"call-1"})},
        {"calls": frozenset({"call-1"}), "project": "alpha"},
        {"begins": 5, "ends": 5},
        {"project": "alpha", "reason": ""},
        {"project": "alpha", "placed_by": ""},
    ],
)
def test_holds_that_say_too_little_are_refused(terms: dict[str, object]) -> None:
    fields: dict[str, object] = {"id": "h", "reason": "why", "placed_by": "judge", "placed": 1} | terms
    with pytest.raises(RetentionError):
        Hold(**fields)  # type: ignore[arg-type]


def test_an_outcome_sealed_after_midnight_is_held_with_its_call() -> None:
    midnight = 20 * DAY_MS
    hold = Hold("h", "why", "judge", 1, project="alpha", begins=midnight - DAY_MS, ends=midnight)
    after = Bucket(1, "alpha", "short", midnight, midnight + HOUR, 1, 1)
    assert due([after], CLASSES, [hold], 900 * DAY_MS).mixed == (after,)
    later = replace(after, begins=midnight + DAY_MS, ends=midnight + DAY_MS + HOUR)
    assert due([later], CLASSES, [hold], 900 * DAY_MS).whole == (later,)


def test_retention_is_exact_to_the_millisecond_of_the_buckets_end() -> None:
    bucket = Bucket(1, "alpha", "short", 0, HOUR, 1, 1)
    assert due([bucket], CLASSES, [], HOUR + DAY_MS - 1).whole == ()
    assert due([bucket], CLASSES, [], HOUR + DAY_MS).whole == (bucket,)


def test_a_class_that_was_taken_away_stops_retention_instead_of_guessing() -> None:
    with pytest.raises(RetentionError, match="'gone'"):
        due([Bucket(1, "alpha", "gone", 0, HOUR, 1, 1)], CLASSES, [], 0)


def test_the_index_is_kept_at_least_as_long_as_the_content() -> None:
    assert index_due(CLASSES["short"], 40 * DAY_MS) == 10 * DAY_MS
    with pytest.raises(RetentionError, match="index"):
        RetentionClass("odd", 30, 29)
