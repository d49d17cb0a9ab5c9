"""How many in a minute: a sliding window of one-second slots over a clock that only goes forward.

Whatever the moment, the last 60 seconds never hold more than the limit. A step of the wall clock neither
doubles nor freezes it, because the wall clock is not asked.
"""

from collections import deque
from typing import Final

SPAN_S: Final = 61  # a slot is counted until its youngest moment is 60 seconds old


class Slot:
    """What was taken in one second. `live` is False once it has left the window."""

    __slots__ = ("amount", "live", "second")

    def __init__(self, second: int) -> None:
        self.second = second
        self.amount = 0
        self.live = True


class Window:
    """At most `limit` in any minute. `limit` may change while it is in use."""

    __slots__ = ("_slots", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._slots: deque[Slot] = deque()

    def remaining(self, second: int) -> int:
        """How much can be taken now. `second` is of a clock that only goes forward."""
        self._expire(second)
        return max(self.limit - self.used, 0)

    def wait(self, amount: int, second: int) -> int | None:
        """Seconds until `amount` fits: 0 if it does now, None if it never will."""
        self._expire(second)
        if self.used + amount <= self.limit:
            return 0
        if amount > self.limit:
            return None
        over = self.used + amount - self.limit
        for slot in self._slots:
            over -= slot.amount
            if over <= 0:
                return slot.second + SPAN_S - second
        return SPAN_S  # what is used was given back meanwhile

    def take(self, amount: int, second: int) -> Slot:
        """Count `amount`; the slot is for `adjust`."""
        self._expire(second)
        slots = self._slots
        if not slots or slots[-1].second != second:
            slots.append(Slot(second))
        slot = slots[-1]
        slot.amount += amount
        self.used += amount
        return slot

    def adjust(self, slot: Slot, difference: int) -> None:
        """Correct what was taken, as long as it counts."""
        if slot.live:
            slot.amount += difference
            self.used += difference

    def reset(self, second: int) -> int:
        """Seconds until the whole limit is free again."""
        self._expire(second)
        return self._slots[-1].second + SPAN_S - second if self.used else 0

    def _expire(self, second: int) -> None:
        slots = self._slots
        while slots and slots[0].second <= second - SPAN_S:
            slot = slots.popleft()
            slot.live = False
            self.used -= slot.amount
