"""What this process may spend of a budget in one period, kept in memory."""

from regalia.ledger import Settlement
from regalia.metering.book import TOKENS, Budget


class Share:
    """A process's share. `granted` counts from the period's beginning, as do `spent` and what is `reserved`.

    The only process of an instance is granted all that others have not spent. Of several, each is granted
    a slice at a time (`regalia.metering.store.exchange`), so that the sum never exceeds the budget.
    """

    __slots__ = (
        "ask_after",
        "asked",
        "budget",
        "granted",
        "held_until",
        "last_used",
        "loaded",
        "others",
        "others_lack",
        "period",
        "reserved",
        "spent",
        "wanted",
    )

    def __init__(self, budget: Budget, period: str) -> None:
        self.budget = budget
        self.period = period
        self.granted = 0
        self.spent = 0
        self.reserved = 0
        self.others = 0  # what other processes have spent, as of the last look
        self.wanted = 0  # the largest amount that was refused for lack of a slice
        self.asked = 0  # what of it the database knows to be lacking
        self.held_until = 0.0  # monotonic: it got what it lacked, and the call that needs it is to find it
        self.others_lack = False  # another process lacks a slice, and goes first
        self.last_used = 0.0  # monotonic
        self.ask_after = 0.0  # monotonic: nothing was free when it was asked for
        self.loaded = False

    @property
    def available(self) -> int:
        """What can be reserved now."""
        return self.granted - self.spent - self.reserved

    def used_by(self, settlement: Settlement) -> int:
        """What a call counts against it."""
        return charge(self.budget, settlement)


def charge(budget: Budget, settlement: Settlement) -> int:
    """What a call counts against a budget, as `regalia.ledger.charging` does."""
    if budget.unit == TOKENS:
        return settlement.tokens
    return settlement.cost if settlement.currency == budget.unit else 0
