"""`regalia usage --verify`: usage and cost recomputed from the log's records, and compared with the counters.

The rules:

1. Each outcome but `call.aborted`, of a call admitted on one of the days, counts as one request of its
   project (by pseudonym), its route, the model that was asked for and its price, with its tokens and cost.
2. Its cost is what the price it names, as `admin.price_set` has it, makes of its tokens.
3. The counters of the days have exactly these sums, and nothing else.
4. What a budget has spent in a period is the usage of its subject in that period.

No I/O here. The records come in the log's order, from its first one.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from regalia.metering.book import TOKENS, Budget
from regalia.metering.money import MoneyError, Price, format_amount, parse_amount
from regalia.metering.period import Calendar
from regalia.metering.recorded import RecordedCost, RecordedUsage

OUTCOMES = frozenset({"call.answered", "call.refused", "call.failed", "call.cancelled"})
PRICE_SET = "admin.price_set"
_COUNTED = ("requests", "input", "cached", "output", "cost", "measured", "energy")
_MOST_DIFFERENCES = 1000
DAY_MS = 86_400_000


class Record(msgspec.Struct):
    """What is read of a record."""

    kind: str
    time: int = 0
    call: str = ""
    project: str = ""
    route: str = ""
    model: Any = None
    started: int = 0
    usage: RecordedUsage = RecordedUsage()
    cost: RecordedCost | None = None
    price: str = ""
    currency: str = ""
    input: str = "0"
    cached: str = "0"
    output: str = "0"
    embedding: str = "0"


class Where(msgspec.Struct, frozen=True, order=True):
    """What is compared, one by one."""

    day: str
    project: str
    route: str
    model: str
    price: str


class Difference(msgspec.Struct, frozen=True):
    """Log and counters disagree."""

    where: str
    what: str
    log: str
    counters: str


class Counter(msgspec.Struct, frozen=True):
    """A row of the table `usage`."""

    day: str
    organisation: str
    project: str
    key_id: str
    user_id: str
    route: str
    model: str
    price: str
    currency: str
    requests: int
    input: int
    cached: int
    output: int
    cost: int
    measured: int
    energy: int


class Verdict(msgspec.Struct, frozen=True):
    """What was compared. Nothing differs if `differences` is empty."""

    first: str
    last: str
    records: int
    calls: int
    input: int
    output: int
    cost: dict[str, str]
    budgets: int
    differences: list[Difference]


read_record = msgspec.json.Decoder(Record).decode


class Audit:
    """Sums records, and compares the sums. Days outside of `first` to `last` ("" for no bound) are left out.

    Outcomes before the entry `since` were not counted yet. Of a log whose entries before `begins` have been
    archived and removed, the comparison begins with the day after the first one that is left.
    """

    def __init__(self, first: str = "", last: str = "", since: int = 0, *, begins: int = 0) -> None:
        self._first = first
        self._last = last
        self._begins = begins
        self._since = since
        self._calendar = Calendar()
        self._asked: dict[str, str] = {}  # the model that open calls asked for
        self._prices: dict[str, Price] = {}
        self._sums: dict[Where, list[int]] = {}
        self._records = 0
        self.differences: list[Difference] = []

    def know(self, prices: Iterable[Price]) -> None:
        """Take prices whose records may have been removed."""
        self._prices |= {price.id: price for price in prices}

    def add(self, index: int, data: bytes) -> None:
        """Take the next record. Raises msgspec.DecodeError for what is no record."""
        record = read_record(data)
        self._records += 1
        if self._begins and record.time:
            day_after = self._calendar.at(record.time + DAY_MS).day
            self._first, self._begins = max(self._first, day_after), 0
        if record.kind == "call.admitted":
            self._asked[record.call] = str(record.model)
        elif record.kind == PRICE_SET:
            self._note_price(record)
        elif record.kind in OUTCOMES:
            asked = self._asked.pop(record.call, None)
            if index >= self._since:
                self._count(record, asked)
        elif record.kind == "call.aborted":
            self._asked.pop(record.call, None)

    def compare(self, counters: Iterable[Counter], pseudonym: Callable[[str, int], str]) -> None:
        """Compare with the table `usage`. `pseudonym` is a project's at a time (ms)."""
        found: dict[Where, list[int]] = {}
        for row in counters:
            if self._within(row.day):
                name = pseudonym(row.project, _noon(row.day))
                where = Where(row.day, name, row.route, row.model, row.price)
                sums = found.setdefault(where, [0] * len(_COUNTED))
                for place, what in enumerate(_COUNTED):
                    sums[place] += getattr(row, what)
        nothing = [0] * len(_COUNTED)
        for where in sorted(found.keys() | self._sums.keys()):
            pairs = zip(_COUNTED, self._sums.get(where, nothing), found.get(where, nothing), strict=True)
            for what, logged, counted in pairs:
                if logged != counted:
                    self._differ(_name(where), what, str(logged), str(counted))

    def compare_budgets(
        self,
        counters: Iterable[Counter],
        budgets: Iterable[Budget],
        spent: Mapping[tuple[str, str], int],
    ) -> None:
        """Compare what budgets have spent, by budget and period, with the usage of their subjects."""
        sums: dict[tuple[str, str], int] = {}
        known = list(budgets)
        for row in counters:
            subjects = {
                f"organisation:{row.organisation}",
                f"project:{row.project}",
                f"key:{row.key_id}",
                f"user:{row.user_id}",
            }
            periods = {"day": row.day, "month": row.day[:7], "total": "total"}
            for budget in known:
                if budget.subject not in subjects or budget.unit not in (TOKENS, row.currency):
                    continue
                amount = row.input + row.output if budget.unit == TOKENS else row.cost
                place = budget.id, periods[budget.period]
                sums[place] = sums.get(place, 0) + amount
        ids = {budget.id for budget in known}
        counted = {place: amount for place, amount in spent.items() if place[0] in ids}
        for place in sorted(sums.keys() | counted.keys()):
            if sums.get(place, 0) != counted.get(place, 0):
                self._differ(
                    f"budget {place[0]}, {place[1]}",
                    "spent",
                    str(sums.get(place, 0)),
                    str(counted.get(place, 0)),
                )

    def verdict(self, budgets: int) -> Verdict:
        """What was compared, and what differs."""
        cost: dict[str, int] = {}
        for where, sums in self._sums.items():
            price = self._prices.get(where.price)
            if price is not None:
                cost[price.currency] = cost.get(price.currency, 0) + sums[4]
        return Verdict(
            first=self._first,
            last=self._last,
            records=self._records,
            calls=sum(sums[0] for sums in self._sums.values()),
            input=sum(sums[1] for sums in self._sums.values()),
            output=sum(sums[3] for sums in self._sums.values()),
            cost={currency: format_amount(amount) for currency, amount in sorted(cost.items())},
            budgets=budgets,
            differences=self.differences,
        )

    def _note_price(self, record: Record) -> None:
        try:
            amounts = [
                parse_amount(text) for text in (record.input, record.cached, record.output, record.embedding)
            ]
        except MoneyError as error:
            self._differ(f"price {record.price}", "amount", str(error), "")
            return
        self._prices[record.price] = Price(record.price, str(record.model), record.currency, *amounts)

    def _count(self, record: Record, asked: str | None) -> None:
        day = self._calendar.at(record.started).day
        if not self._within(day):
            return
        cost = self._cost(record) if record.cost is not None else 0
        price = record.cost.price if record.cost is not None else ""
        where = Where(day, record.project, record.route, asked or "", price)
        sums = self._sums.setdefault(where, [0] * len(_COUNTED))
        used = record.usage
        energy = used.energy
        counts = (
            1,
            used.input,
            used.cached,
            used.output,
            cost,
            0 if energy is None else 1,
            0 if energy is None else energy.mj,
        )
        for place, count in enumerate(counts):
            sums[place] += count

    def _cost(self, record: Record) -> int:
        """What the record says it cost, after recomputing it."""
        stated = record.cost
        if stated is None:
            return 0
        price = self._prices.get(stated.price)
        if price is None or price.currency != stated.currency:
            self._differ(record.call, "price", stated.price, "no such record")
            return 0
        computed = price.cost(record.route, record.usage)
        if stated.amount != format_amount(computed):
            self._differ(record.call, "cost by its price", format_amount(computed), stated.amount)
        return computed

    def _within(self, day: str) -> bool:
        return (not self._first or day >= self._first) and (not self._last or day <= self._last)

    def _differ(self, where: str, what: str, log: str, counters: str) -> None:
        if len(self.differences) < _MOST_DIFFERENCES:
            self.differences.append(Difference(where, what, log, counters))


def _noon(day: str) -> int:
    """A moment of the day (ms)."""
    return int(datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC).timestamp() * 1000)


def _name(where: Where) -> str:
    return (
        f"{where.day}, project {where.project}, {where.route}, {where.model}, price {where.price or 'none'}"
    )
