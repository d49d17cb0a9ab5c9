"""Policies in force and reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "policy_activations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested", INT64, nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided", INT64),
        sa.Column("effective", INT64, nullable=False),
        sa.Column("reverts", sa.Text),
        comment=(
            "Who wanted which pack in force from when, and who agreed. Project '' is the whole instance; no "
            "document means no policy. The newest active one whose time has come is in force."
        ),
    )
    op.create_index("ix_policy_activations_state", "policy_activations", ["state"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("call", sa.Text, nullable=False, unique=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("rail", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("deadline", INT64, nullable=False),
        sa.Column("default", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decided", INT64, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("claimed", INT64, nullable=False),
        sa.Column("callback", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        comment="Held calls. What was said is not here: it is sealed with the call.",
    )
    op.create_index("ix_reviews_state", "reviews", ["state"])
