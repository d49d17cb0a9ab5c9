"""A held call's review, as data: its states, who may decide, and what happens when nobody does. No I/O.

    open ──release──▶ released ──the caller fetches it──▶ delivered
      │└──edit (a held answer only)──▶ edited ──▶ delivered
      ├──refuse──▶ refused
      └──the deadline──▶ released or refused, as the pack's default says

Nobody decides on a call of their own. Whoever begins to decide claims the review first, so that of two
reviewers one is told that it is too late; a claim that was not carried out ends after CLAIM_MS.
"""

from typing import Literal

import msgspec

from regalia.policy.errors import PolicyConflict

CLAIM_MS = 60_000
State = Literal["open", "released", "edited", "refused", "delivered"]
Verdict = Literal["release", "edit", "refuse"]
Default = Literal["release", "refuse"]
HeldSide = Literal["input", "output"]
AFTER: dict[str, State] = {"release": "released", "edit": "edited", "refuse": "refused"}


class Review(msgspec.Struct, frozen=True):
    """One held call. Times are milliseconds since the epoch; `author` is who made the call.

    `side` is "input" where nothing was generated yet, "output" where the answer waits. `call` was held;
    `answer` is the call by which the released answer is on record, "" until there is one.
    """

    id: str
    call: str
    project: str
    author: str
    route: str
    side: HeldSide
    rail: str
    policy: str
    created: int
    deadline: int
    default: Default = "refuse"
    state: State = "open"
    decided: int = 0
    decided_by: str = ""
    claimed: int = 0
    callback: str = ""
    answer: str = ""

    def overdue(self, now_ms: int) -> bool:
        """Whether its deadline decides."""
        return self.state == "open" and now_ms >= self.deadline


def may_decide(review: Review, reviewer: str, verdict: Verdict, now_ms: int) -> None:
    """Whether the reviewer may give that verdict now. Raises PolicyConflict with the reason."""
    if review.state != "open":
        raise PolicyConflict(f"the review {review.id} is {review.state} already")
    if reviewer == review.author:
        raise PolicyConflict("nobody decides on a call of their own: another reviewer must")
    if review.claimed and now_ms - review.claimed < CLAIM_MS:
        raise PolicyConflict(f"the review {review.id} is being decided by somebody else")
    if verdict == "edit" and review.side == "input":
        raise PolicyConflict("this call was held before it was answered: release or refuse it")


def settled(review: Review, verdict: Verdict, by: str, now_ms: int, answer: str = "") -> Review:
    """The review after a verdict that was carried out."""
    return msgspec.structs.replace(
        review, state=AFTER[verdict], decided=now_ms, decided_by=by, claimed=0, answer=answer
    )
