"""How many failed sign-ins go on record: enough to see an attack, not so many that it fills the log.

Of each kind of failure of one person one in ten seconds, and of all together thirty at once and then one
every two seconds. A record says how many went unrecorded before it. Times in ms; no I/O.
"""

from typing import Final

EACH_MS: Final = 10_000
BURST: Final = 30
REFILL_MS: Final = 2_000
_MAX_KNOWN: Final = 4_096


class Noticing:
    """Decides for one process."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], int] = {}
        self._tokens = float(BURST)
        self._at = 0
        self._unrecorded = 0

    def note(self, failure: tuple[str, ...], now: int) -> int | None:
        """How many failures went unrecorded if this one is to be recorded, None if it is not."""
        self._tokens = min(BURST, self._tokens + max(0, now - self._at) / REFILL_MS)
        self._at = now
        if abs(now - self._last.get(failure, -EACH_MS)) < EACH_MS or self._tokens < 1:
            self._unrecorded += 1
            return None
        if len(self._last) >= _MAX_KNOWN:
            self._last.clear()
        self._last[failure] = now
        self._tokens -= 1
        unrecorded, self._unrecorded = self._unrecorded, 0
        return unrecorded
