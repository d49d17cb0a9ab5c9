"""A window never holds more than its limit in any minute, says when there is room, and asks no wall clock."""

from hypothesis import given
from hypothesis import strategies as st

from regalia.metering.window import SPAN_S, Slot, Window

STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=60)


@given(st.integers(1, 30), STEPS)
def test_no_minute_holds_more_than_the_limit(limit: int, steps: list[tuple[int, int]]) -> None:
    window, second, taken = Window(limit), 0, list[tuple[int, int]]()
    for pause, amount in steps:
        second += pause
        wait = window.wait(amount, second)
        if wait == 0:
            window.take(amount, second)
            taken.append((second, amount))
        elif wait is None:
            assert amount > limit
        assert window.remaining(second) == limit - window.used
    for begin, _ in taken:
        assert sum(amount for at, amount in taken if begin <= at < begin + 60) <= limit


@given(st.integers(1, 30), STEPS, st.integers(1, 30))
def test_after_the_wait_there_is_room_and_before_it_there_is_none(
    limit: int, steps: list[tuple[int, int]], amount: int
) -> None:
    window, second = Window(limit), 0
    for pause, taken in steps:
        second += pause
        if window.wait(taken, second) == 0:
            window.take(taken, second)
    wait = window.wait(amount, second)
    if wait is None:
        assert amount > limit
    elif wait:
        assert window.wait(amount, second + wait - 1) != 0
        assert window.wait(amount, second + wait) == 0
        assert window.reset(second) <= SPAN_S


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 9), st.integers(-9, 9)), max_size=40))
def test_what_is_corrected_counts_as_long_as_it_was_taken_for(
    steps: list[tuple[int, int, int]],
) -> None:
    window, second = Window(10**6), 0
    known: list[tuple[Slot, int]] = []
    for pause, amount, difference in steps:
        second += pause
        slot = window.take(amount, second)
        correction = max(difference, -amount)
        window.adjust(slot, correction)
        known.append((slot, amount + correction))
        window.remaining(second)
        assert window.used == sum(left for slot, left in known if slot.second > second - SPAN_S)
    assert window.remaining(second + SPAN_S) == window.limit
    for slot, left in known:
        window.adjust(slot, -left)
    assert window.used == 0
