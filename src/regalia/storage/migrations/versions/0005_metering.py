"""Prices, budgets, limits and usage."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, and the one row by which processes notice changes."""
    state = op.create_table(
        "metering_state",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("generation", INT64, nullable=False),
        sa.Column("since", INT64, nullable=False),
        comment="One row: a number that grows with each change of prices, budgets and limits; the log entry "
        "from which on outcomes are counted.",
    )
    size = op.get_bind().execute(sa.text("SELECT size FROM log_state")).scalar_one()
    op.bulk_insert(state, [{"id": 1, "generation": 1, "since": size}])
    op.create_table(
        "prices",
        sa.Column("id", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("model", "currency")),
        *(
            sa.Column(name, INT64, nullable=False)
            for name in ("input", "cached", "output", "embedding", "created")
        ),
        comment="Every price a model ever had, for a million tokens; the newest one of a model is in force.",
    )
    _budgets()
    op.create_table(
        "rate_limits",
        sa.Column("subject", sa.Text(), primary_key=True),
        *(sa.Column(name, INT64) for name in ("requests", "tokens", "concurrent")),
        comment="Requests and tokens a minute, and calls at once. `key:*` is each key without its own.",
    )
    dimensions = ("day", "project", "key_id", "user_id", "route", "model", "price", "organisation")
    counts = ("requests", "input", "cached", "output", "cost", "measured", "energy")
    op.create_table(
        "usage",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in dimensions),
        sa.Column("currency", sa.Text(), nullable=False),
        *(sa.Column(name, INT64, nullable=False) for name in counts),
        sqlite_with_rowid=False,
        comment="What was used, by day (UTC, of admission). `energy` is in mJ, of the `measured` requests.",
    )


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("subject", "period", "unit")),
        sa.Column("amount", INT64, nullable=False),
        sa.Column("hard", sa.Integer(), nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.UniqueConstraint("subject", "period", "unit", name="budgets_subject"),
        comment="What a subject, such as `project:ID`, may spend in a period. `unit`: tokens or a currency.",
    )
    op.create_table(
        "budget_shares",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("budget", "period", "process")),
        *(sa.Column(name, INT64, nullable=False) for name in ("granted", "spent", "wanted")),
        sqlite_with_rowid=False,
        comment="What each process may spend, has spent, and lacks of a budget; '' is for all that ended.",
    )
