"""Usage is appended to a table of its own, and folded into sums now and then; `usage` is a view of both.

Each key of a batch updated a row of its own, on a page of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DIMENSIONS = ("day", "project", "key_id", "user_id", "route", "model", "price", "organisation")
COUNTS = ("requests", "input", "cached", "output", "cost", "measured", "energy")


def upgrade() -> None:
    """What was `usage` becomes the sums; nothing is recent yet."""
    op.rename_table("usage", "usage_sums")
    op.create_table(
        "usage_recent",
        sa.Column("id", INT64, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*DIMENSIONS, "currency")),
        *(sa.Column(name, INT64, nullable=False) for name in COUNTS),
        comment="What a batch of outcomes used; `id` is the log index of one of them. Only ever appended.",
    )
    folding = op.create_table(
        "usage_folding",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        *(sa.Column(name, INT64, nullable=False) for name in ("base", "upto")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in DIMENSIONS),
        comment="One row: recent usage up to `base` is in the sums; of that up to `upto`, what sorts up to "
        "the rest.",
    )
    op.bulk_insert(folding, [{"id": 1, "base": -1, "upto": -1, **dict.fromkeys(DIMENSIONS, "")}])
    op.execute(_view(sqlite=op.get_bind().dialect.name == "sqlite"))


def _view(*, sqlite: bool) -> str:
    """The sums, and what is not in them yet. The order is that of bytes, whatever the database's is."""
    binary = "" if sqlite else ' COLLATE "C"'
    columns = (*DIMENSIONS, "currency", *COUNTS)
    here = ", ".join(f"r.{name}{binary}" for name in DIMENSIONS)
    mark = ", ".join(f"f.{name}" for name in DIMENSIONS)
    return (
        f"CREATE VIEW usage AS SELECT {', '.join(columns)} FROM usage_sums "
        f"UNION ALL SELECT {', '.join(f'r.{name}' for name in columns)} "
        "FROM usage_recent AS r CROSS JOIN usage_folding AS f "
        f"WHERE r.id > f.base AND (r.id > f.upto OR ({here}) > ({mark}))"
    )
