"""How many in a minute: a sliding window of one-second slots over a clock that only goes forward.

Whatever the moment, the last 60 seconds never hold more than the limit. A step of the wall clock neither
doubles nor freezes it, because the wall clock is not asked.
"""

from collections import deque
from typing import Final

SPAN_S: Final = 61  # a slot is counted until its youngest moment is 60 seconds old
_NEVER: Final = 1 << 62


class Slot:
    """What was taken in one second. `live` is False once it has left the window."""

    __slots__ = ("amount", "live", "second")

    def __init__(self, second: int) -> None:
        self.second = second
        self.amount = 0
        self.live = True


class Window:
    """At most `limit` in any minute. `limit` may change while it is in use."""

    __slots__ = ("_due", "_newest", "_slots", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._slots: deque[Slot] = deque()
        self._newest: Slot | None = None  # the last of the slots
        self._due = _NEVER  # when the first of them leaves: most questions need not look at them at all

    def room(self, second: int) -> int:
        """How much can be taken now; less than nothing where the limit was lowered. `second` is of a clock
        that only goes forward.
        """
        if second >= self._due:
            self._expire(second)
        return self.limit - self.used

    def remaining(self, second: int) -> int:
        """How much can be taken now, and no less than nothing."""
        return max(self.room(second), 0)

    def wait(self, amount: int, second: int) -> int | None:
        """Seconds until `amount` fits: 0 if it does now, None if it never will."""
        if amount <= self.room(second):
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
        if second >= self._due:
            self._expire(second)
        slot = self._newest
        if slot is None or slot.second != second:
            slot = self._newest = Slot(second)
            self._slots.append(slot)
            self._due = self._slots[0].second + SPAN_S
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
        if second >= self._due:
            self._expire(second)
        return self._newest.second + SPAN_S - second if self.used and self._newest else 0

    def _expire(self, second: int) -> None:
        slots = self._slots
        while slots and slots[0].second <= second - SPAN_S:
            slot = slots.popleft()
            slot.live = False
            self.used -= slot.amount
        if slots:
            self._due = slots[0].second + SPAN_S
        else:
            self._newest, self._due = None, _NEVER
