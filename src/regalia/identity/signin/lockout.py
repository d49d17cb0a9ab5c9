"""How long failed sign-ins must wait. A pure decision; times in ms.

After five failures in a row each further one doubles the wait, up to a quarter of an hour. An attempt within
the wait is not looked at and changes nothing, so nobody can be kept out for longer than the longest wait by
that. A browser in which the account has signed in before has a count of its own: who guesses from elsewhere
does not lock its owner out at all. A day without a failure forgets the earlier ones.
"""

from typing import Final

import msgspec

FREE: Final = 5
FIRST_WAIT_MS: Final = 5_000
LONGEST_WAIT_MS: Final = 900_000
FORGET_MS: Final = 86_400_000


class Attempts(msgspec.Struct, frozen=True):
    """The failures in a row, when the last one was, and until when none is looked at."""

    failures: int = 0
    last: int = 0
    until: int = 0


def waits(attempts: Attempts, now: int) -> bool:
    """Whether an attempt now is refused without a look at it. A clock that went back locks nobody out."""
    return now < attempts.until <= now + LONGEST_WAIT_MS


def failed(attempts: Attempts, now: int) -> Attempts:
    """After one more failure."""
    before = 0 if abs(now - attempts.last) >= FORGET_MS else attempts.failures
    failures = min(before + 1, 1000)
    wait = 0 if failures < FREE else min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(failures - FREE, 20))
    return Attempts(failures, now, now + wait)
