"""Retention classes and legal holds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of classes, holds, erasures by class, and archives."""
    op.create_table(
        "retention_classes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("content_days", INT64),
        sa.Column("index_days", INT64),
        sa.Column("changed", INT64, nullable=False),
        comment="For how many days contents are kept, and the index by which they are found.",
    )
    op.create_table(
        "retention_marks",
        sa.Column("retention", sa.Text, primary_key=True),
        sa.Column("index_before", INT64, nullable=False),
        comment="Up to which admission the index has been gone through for a class; only saves work.",
    )
    op.create_table(
        "erasure_projects",
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("erasure", sa.Text, primary_key=True),
        sa.Column("since", INT64, nullable=False),
        sa.Column("before", INT64, nullable=False),
        comment="The projects of an erasure by retention, each with the admissions that it covers.",
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("calls", sa.LargeBinary, nullable=False),
        sa.Column("begins", INT64),
        sa.Column("ends", INT64),
        sa.Column("placed_by", sa.Text, nullable=False),
        sa.Column("placed", INT64, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("asked", INT64),
        sa.Column("lifted_by", sa.Text, nullable=False),
        sa.Column("lifted", INT64),
        comment="Legal holds: their terms, who placed them, who asked to lift them and who agreed.",
    )
    op.create_table(
        "log_archives",
        sa.Column("minimum", INT64, primary_key=True, autoincrement=False),
        sa.Column("record", INT64, nullable=False),
        sa.Column("declared", INT64, nullable=False),
        comment="Declared minimum indices: the files of older entries may be in an archive folder.",
    )
