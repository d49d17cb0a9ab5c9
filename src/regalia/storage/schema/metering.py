"""What calls cost, and what they may.

Amounts of money are integers of 10^-9 of the currency's unit, prices the same for a million tokens. Usage and
`budget_shares` are written in the transaction of the outcome that they count, so that log, usage and budgets
can't disagree: what a budget has `spent` in a period is always the sum of the usage of its subject. Usage is
appended to `usage_recent` and folded into `usage_sums` later (`regalia.ledger.folding`); who reads it reads
the view `usage`.
"""

from sqlalchemy import Column, Integer, MetaData, Table, Text, UniqueConstraint

from regalia.storage.schema.base import Int64, metadata

metering_state = Table(
    "metering_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", Int64, nullable=False),
    Column("since", Int64, nullable=False),
    comment="One row: a number that grows with each change of prices, budgets and limits; the log entry from "
    "which on outcomes are counted.",
)

prices = Table(
    "prices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("input", Int64, nullable=False),
    Column("cached", Int64, nullable=False),
    Column("output", Int64, nullable=False),
    Column("embedding", Int64, nullable=False),
    Column("created", Int64, nullable=False),
    comment="Every price a model ever had, for a million tokens; the newest one of a model is in force.",
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", Int64, nullable=False),
    Column("hard", Integer, nullable=False),
    Column("created", Int64, nullable=False),
    UniqueConstraint("subject", "period", "unit", name="budgets_subject"),
    comment="What a subject, such as `project:ID`, may spend in a period. `unit`: tokens or a currency.",
)

budget_shares = Table(
    "budget_shares",
    metadata,
    Column("budget", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("process", Text, primary_key=True),
    Column("granted", Int64, nullable=False),
    Column("spent", Int64, nullable=False),
    Column("wanted", Int64, nullable=False),
    sqlite_with_rowid=False,
    comment="What each process may spend, has spent, and lacks of a budget; '' is for all that ended.",
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("requests", Int64),
    Column("tokens", Int64),
    Column("concurrent", Int64),
    comment="Requests and tokens a minute, and calls at once. `key:*` is each key without its own.",
)

_DIMENSIONS = ("day", "project", "key_id", "user_id", "route", "model", "price", "organisation")
_COUNTS = ("requests", "input", "cached", "output", "cost", "measured", "energy")

usage_sums = Table(
    "usage_sums",
    metadata,
    *(Column(name, Text, primary_key=True) for name in _DIMENSIONS),
    Column("currency", Text, nullable=False),
    *(Column(name, Int64, nullable=False) for name in _COUNTS),
    sqlite_with_rowid=False,
    comment="What was used, by day (UTC, of admission). `energy` is in mJ, of the `measured` requests.",
)

usage_recent = Table(
    "usage_recent",
    metadata,
    Column("id", Int64, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in (*_DIMENSIONS, "currency")),
    *(Column(name, Int64, nullable=False) for name in _COUNTS),
    comment="What a batch of outcomes used; `id` is the log index of one of them. Only ever appended.",
)

usage_folding = Table(
    "usage_folding",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("base", Int64, nullable=False),
    Column("upto", Int64, nullable=False),
    *(Column(name, Text, nullable=False) for name in _DIMENSIONS),
    comment="One row: recent usage up to `base` is in the sums; of that up to `upto`, what sorts up to the "
    "rest.",
)

usage = Table(
    "usage",
    MetaData(),  # a view: the sums and what is not in them yet, each outcome once, at any moment
    *(Column(name, Text) for name in (*_DIMENSIONS, "currency")),
    *(Column(name, Int64) for name in _COUNTS),
)
