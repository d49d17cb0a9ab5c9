"""What a batch's usage is charged to: the budgets of its subjects, each written once a batch.

The budgets are remembered for as long as `metering_state.generation` stays what it was. They change only
while no outcome is being recorded (`regalia.metering.store`), so that a look at that one number, within the
batch's own transaction, says whether what is remembered is what holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from regalia.ledger.statements import Statements

UsageRow = tuple[str | int, ...]
"""The log index of the first outcome of a batch that was for someone, for whom and what, and how much."""
Charge = tuple[str, str, str, int]
"""Budget, period, process, and what is spent."""


class BudgetRow(msgspec.Struct, frozen=True):
    """A budget, as far as charging it goes."""

    id: str
    period: str
    unit: str


Known = Mapping[str, Sequence[BudgetRow]]
"""The budgets, by their subject."""


class KnownBudgets:
    """The budgets as the database has them. Owned by whoever owns the connection."""

    def __init__(self, sql: Statements) -> None:
        self._sql = sql
        self._generation = -1
        self._known: dict[str, list[BudgetRow]] = {}

    def look(self, cursor: Any) -> Known:
        """The budgets in force, within a transaction that holds the log's turn."""
        cursor.execute(self._sql.generation)
        return self.known(cursor, cursor.fetchone()[0])

    def known(self, cursor: Any, generation: int) -> Known:
        """The budgets in force, where the transaction has read that number already."""
        if generation != self._generation:
            self._known = {}
            cursor.execute(self._sql.budgets)
            for ident, subject, period, unit in cursor.fetchall():
                self._known.setdefault(subject, []).append(BudgetRow(ident, period, unit))
            self._generation = generation
        return self._known


def charges(usage: Iterable[UsageRow], known: Known, process: str) -> list[Charge]:
    """What rows of usage add to budgets: tokens, or money in the budget's own currency.

    Whatever a budget's subject uses is charged to it, so that its `spent` is the sum of that usage. They are
    in order, as slices are exchanged: two transactions that lock the same rows must not wait for each other.
    """
    spent: dict[tuple[str, str], int] = {}
    for row in usage:
        _, day, organisation, project, key, user, *_, currency, _, read, _, written, cost, _, _ = row
        for subject in (f"organisation:{organisation}", f"project:{project}", f"key:{key}", f"user:{user}"):
            for budget in known.get(subject, ()):
                if budget.unit == "tokens":
                    amount = int(read) + int(written)
                else:
                    amount = int(cost) if budget.unit == currency else 0
                if amount:
                    period = (budget.id, _period(budget.period, str(day)))
                    spent[period] = spent.get(period, 0) + amount
    return [(budget, period, process, amount) for (budget, period), amount in sorted(spent.items())]


def _period(period: str, day: str) -> str:
    return day if period == "day" else day[:7] if period == "month" else "total"
