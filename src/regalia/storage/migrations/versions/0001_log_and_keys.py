"""The log, its calls and contents, and the API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables, and the log's head for an empty log."""
    log_state = op.create_table(
        "log_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("published_size", INT64, nullable=False),
        sa.Column("published_root", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="log_state_is_one_row"),
        comment="The log's head. Whoever holds this row's lock assigns the next indices.",
    )
    op.create_table(
        "entries",
        sa.Column("idx", INT64, primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        comment="Log entries that are not yet in a full, durable entry bundle.",
    )
    op.create_table(
        "calls",
        sa.Column("call", sa.Text, primary_key=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("admitted", INT64, nullable=False),
        sa.Column("admitted_hash", sa.LargeBinary, nullable=False),
        sa.Column("outcome", INT64),
        sqlite_with_rowid=False,
        comment="Where a call's admission and its outcome are in the log; the outcome is NULL while it runs.",
    )
    running = sa.column("outcome").is_(None)
    op.create_index("calls_open", "calls", ["process"], sqlite_where=running, postgresql_where=running)
    op.create_table(
        "contents",
        sa.Column("idx", INT64, primary_key=True, autoincrement=False),
        sa.Column("sealing", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        comment="What a record's commitments open to, sealed by the vault; one row a record, by its index.",
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("expires", INT64),
        sa.Column("revoked", INT64),
        comment="API keys by their keyed hash; times are milliseconds since the epoch.",
    )
    op.create_table(
        "registered_models",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        comment="The models whose registration is in the log, by name, with the manifest's digest.",
    )
    op.bulk_insert(log_state, [{"id": 1, "size": 0, "published_size": 0, "published_root": b""}])
