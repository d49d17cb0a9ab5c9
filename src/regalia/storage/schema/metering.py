"""What calls cost, and what they may.

Amounts of money are integers of 10^-9 of the currency's unit, prices the same for a million tokens. `usage`
and `budget_shares` are written in the transaction of the outcome that they count, so that log, usage and
budgets can't disagree: what a budget has `spent` in a period is always the sum of the usage of its subject.
"""

from sqlalchemy import Column, Integer, Table, Text, UniqueConstraint

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

usage = Table(
    "usage",
    metadata,
    Column("day", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("price", Text, primary_key=True),
    Column("organisation", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("requests", Int64, nullable=False),
    Column("input", Int64, nullable=False),
    Column("cached", Int64, nullable=False),
    Column("output", Int64, nullable=False),
    Column("cost", Int64, nullable=False),
    Column("measured", Int64, nullable=False),
    Column("energy", Int64, nullable=False),
    sqlite_with_rowid=False,
    comment="What was used, by day (UTC, of admission). `energy` is in mJ, of the `measured` requests.",
)
