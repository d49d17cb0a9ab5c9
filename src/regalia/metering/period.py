"""The periods of budgets: UTC days and months, and all time. A call's period is that of its admission."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

Period = Literal["day", "month", "total"]
PERIODS: tuple[Period, ...] = ("day", "month", "total")
TOTAL = "total"
_DAY_MS = 86_400_000


class Today(msgspec.Struct, frozen=True):
    """A UTC day: its name, its month's, and when both end (ms since the epoch)."""

    day: str
    month: str
    begins: int
    ends: int
    month_ends: int

    @classmethod
    def at(cls, ms: int) -> "Today":
        """The day that a moment is in."""
        now = datetime.fromtimestamp(ms / 1000, UTC)
        begins = now.replace(hour=0, minute=0, second=0, microsecond=0)
        following = (begins.replace(day=1) + timedelta(days=32)).replace(day=1)
        start = int(begins.timestamp() * 1000)
        return cls(
            f"{begins:%Y-%m-%d}", f"{begins:%Y-%m}", start, start + _DAY_MS, int(following.timestamp() * 1000)
        )

    def name(self, period: Period) -> str:
        """The name of the period of that length."""
        return self.day if period == "day" else self.month if period == "month" else TOTAL

    def end(self, period: Period) -> int | None:
        """When it ends (ms), None if never."""
        return self.ends if period == "day" else self.month_ends if period == "month" else None


class Calendar:
    """The day of a moment, computed once a day."""

    def __init__(self) -> None:
        self._today = Today("", "", 0, 0, 0)

    def at(self, ms: int) -> Today:
        """The day that a moment is in. Clocks may step either way."""
        today = self._today
        if not today.begins <= ms < today.ends:
            today = self._today = Today.at(ms)
        return today
