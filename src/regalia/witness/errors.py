"""What can go wrong around a witness, as its operator and its clients see it."""

from typing import Literal

from regalia.errors import RegaliaError

Suspicion = Literal["", "equivocation", "unproven"]
"""What a refused request says about its log: nothing, two roots for one size, or no proof of growth."""


class WitnessError(RegaliaError):
    """A witness can't be made, opened or used; the message says what to do."""


class Refused(RegaliaError):
    """A request that is not cosigned: its HTTP status, and a short code for scripts and metrics.

    `size` is the latest cosigned size where the client should know it (409).
    """

    def __init__(
        self, status: int, code: str, message: str, *, size: int | None = None, suspicion: Suspicion = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.size = size
        self.suspicion = suspicion
