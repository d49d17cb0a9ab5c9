"""What an operator has set: prices, budgets and limits, as plain data."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from regalia.metering.money import Price
from regalia.metering.period import Period

Scope = Literal["organisation", "project", "key", "user"]
SCOPES: tuple[Scope, ...] = ("organisation", "project", "key", "user")
TOKENS = "tokens"
EACH = "*"
"""As a limit's subject: each one of its scope that has no limit of its own."""


class Who(msgspec.Struct, frozen=True, gc=False):
    """Whose call it is, by ids; `user` is empty for a service key."""

    organisation: str
    project: str
    key: str
    user: str

    def subjects(self) -> tuple[tuple[Scope, str], ...]:
        """Whom budgets and limits can be about."""
        return tuple((scope, getattr(self, scope)) for scope in SCOPES)


class Budget(msgspec.Struct, frozen=True):
    """What a subject may spend in a period: tokens, or money as an integer of 10^-9 of the currency `unit`.

    A hard budget refuses what could exceed it, a soft one only tells.
    """

    id: str
    subject: str
    period: Period
    unit: str
    amount: int
    hard: bool = True
    created: int = 0

    @property
    def scope(self) -> str:
        """Organisation, project, key or user."""
        return self.subject.partition(":")[0]


class Limit(msgspec.Struct, frozen=True):
    """Requests and tokens a minute, and calls at once; None is no limit."""

    subject: str
    requests: int | None = None
    tokens: int | None = None
    concurrent: int | None = None


class Book(msgspec.Struct, frozen=True):
    """Everything that is set, as of a generation. `prices` has each model's price in force."""

    generation: int = 0
    prices: Mapping[str, Price] = {}
    budgets: tuple[Budget, ...] = ()
    limits: Mapping[str, Limit] = {}

    def budgets_of(self, who: Who) -> tuple[Budget, ...]:
        """The hard budgets that a call of theirs is reserved against."""
        subjects = {f"{scope}:{name}" for scope, name in who.subjects() if name}
        return tuple(budget for budget in self.budgets if budget.hard and budget.subject in subjects)

    def limits_of(self, who: Who) -> tuple[tuple[str, Limit], ...]:
        """The limits that hold for them, each with the subject it is counted by."""
        found = []
        for scope, name in who.subjects():
            own = f"{scope}:{name}"
            limit = self.limits.get(own) or self.limits.get(f"{scope}:{EACH}")
            if name and limit is not None:
                found.append((own, limit))
        return tuple(found)
