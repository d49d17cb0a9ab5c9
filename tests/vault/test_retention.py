"""What may be deleted: never what a hold covers, never before its time, always once it is due and free."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from regalia.vault import Bucket
from regalia.vault.retention import (
    DAY_MS,
    SLACK_MS,
    Call,
    Hold,
    RetentionClass,
    RetentionError,
    Rules,
    due,
    erasable,
    holds_on_project,
    index_due,
    keeping,
    lift,
    select,
)

HOUR = 3_600_000
CLASSES = {
    "short": RetentionClass("short", 1, 30),
    "long": RetentionClass("long", 365, 365),
    "ever": RetentionClass("ever"),
}
projects = st.sampled_from(["alpha", "beta"])
rules = st.dictionaries(projects, st.sampled_from([*sorted(CLASSES), "nobody-knows"])).map(
    lambda assigned: Rules(CLASSES, assigned)
)
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
    sealed = bucket.begins - SLACK_MS <= call.admitted < bucket.ends + SLACK_MS
    return call.project == bucket.project and sealed


@given(st.lists(buckets()), st.lists(holds()), st.lists(calls()))
def test_no_held_call_is_in_a_bucket_that_is_destroyed(
    some: list[Bucket], kept: list[Hold], every: list[Call]
) -> None:
    for bucket in select(some, kept).whole:
        assert not [call for call in every if in_bucket(call, bucket) and any(h.covers(call) for h in kept)]


@given(st.lists(buckets()), st.lists(holds()), st.lists(calls()))
def test_every_call_is_held_in_a_bucket_that_is_wholly_held(
    some: list[Bucket], kept: list[Hold], every: list[Call]
) -> None:
    for bucket in select(some, kept).held:
        inside = [call for call in every if in_bucket(call, bucket)]
        assert all(any(hold.covers(call) for hold in kept) for call in inside)


@given(st.lists(buckets(), unique_by=lambda bucket: bucket.id), st.lists(holds()))
def test_all_that_is_wanted_is_decided_upon_once(some: list[Bucket], kept: list[Hold]) -> None:
    decision = select(some, kept)
    decided = [*decision.whole, *decision.held, *decision.mixed]
    assert sorted(bucket.id for bucket in decided) == sorted(bucket.id for bucket in some)


@given(st.lists(buckets()), st.lists(holds()))
def test_what_keeps_a_bucket_back_is_named(some: list[Bucket], kept: list[Hold]) -> None:
    decision = select(some, kept)
    back = [*decision.held, *decision.mixed]
    assert bool(keeping((), back, kept)) == bool(back)
    assert keeping((), decision.whole, kept) == []


@given(st.lists(buckets(), unique_by=lambda bucket: bucket.id), rules, st.integers(0, 800 * DAY_MS))
def test_the_shorter_of_the_class_then_and_the_class_now_decides(
    some: list[Bucket], given_rules: Rules, now: int
) -> None:
    found = {bucket.id for bucket in due(some, given_rules, now)}
    for bucket in some:
        then = CLASSES[bucket.retention_class].content_days
        current = CLASSES.get(given_rules.projects.get(bucket.project, "default"))
        days = [d for d in (then, current.content_days if current else None) if d is not None]
        assert (bucket.id in found) == (bool(days) and now >= bucket.ends + min(days) * DAY_MS)


@given(st.lists(buckets()), rules, st.integers(0, 800 * DAY_MS), st.integers(0, 800 * DAY_MS))
def test_what_is_due_stays_due(some: list[Bucket], given_rules: Rules, one: int, other: int) -> None:
    sooner, later = sorted((one, other))
    late = due(some, given_rules, later)
    assert all(bucket in late for bucket in due(some, given_rules, sooner))


@given(st.lists(buckets()))
def test_without_holds_all_that_is_wanted_goes(some: list[Bucket]) -> None:
    decision = select(some, [])
    assert decision.held == decision.mixed == ()


@given(st.lists(buckets()), st.lists(holds(), min_size=1), st.integers(0, 800 * DAY_MS))
def test_lifted_holds_keep_nothing(some: list[Bucket], kept: list[Hold], now: int) -> None:
    lifted = [lift(lift(hold, "one", now), "another", now) if hold.active else hold for hold in kept]
    assert select(some, lifted) == select(some, [])
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


people = st.sampled_from(["judge", "clerk", "officer"])


@given(holds(), st.lists(people, max_size=8))
def test_only_two_persons_lift_a_hold(hold: Hold, actors: list[str]) -> None:
    assume(hold.active)
    took_part: list[str] = []
    for actor in actors:
        before = hold
        try:
            hold = lift(hold, actor, 9)
        except RetentionError:
            assert hold == before
            assert not before.active or actor == before.asked_by
        else:
            took_part.append(actor)
    assert hold.active == (len({*actors}) < 2)
    if not hold.active:
        assert took_part == [hold.asked_by, hold.lifted_by]
        assert hold.asked_by != hold.lifted_by


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
    assert select([after], [hold]).mixed == (after,)
    later = replace(after, begins=midnight + DAY_MS, ends=midnight + DAY_MS + HOUR)
    assert select([later], [hold]).whole == (later,)


def test_retention_is_exact_to_the_millisecond_of_the_buckets_end() -> None:
    bucket = Bucket(1, "alpha", "short", 0, HOUR, 1, 1)
    assert due([bucket], Rules(CLASSES, {}), HOUR + DAY_MS - 1) == []
    assert due([bucket], Rules(CLASSES, {}), HOUR + DAY_MS) == [bucket]


def test_a_class_that_nobody_has_defined_keeps_for_ever_and_is_named() -> None:
    assert due([Bucket(1, "alpha", "gone", 0, HOUR, 1, 1)], Rules(CLASSES, {}), 900 * DAY_MS) == []
    assert Rules(CLASSES, {"alpha": "gone", "beta": "short", "gamma": "default"}).undefined == ["gone"]


def test_the_index_is_kept_at_least_as_long_as_the_content() -> None:
    assert index_due(CLASSES["short"], 40 * DAY_MS) == 10 * DAY_MS
    assert index_due(CLASSES["ever"], 40 * DAY_MS) == 0
    for content, index in [(30, 29), (None, 400)]:
        with pytest.raises(RetentionError, match="index"):
            RetentionClass("odd", content, index)
