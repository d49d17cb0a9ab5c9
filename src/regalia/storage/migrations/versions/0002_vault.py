"""Sealed contents, and their erasure.

Contents that the first schema kept in the clear stay so until the ledger, which has the keys, is opened.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Name each content's call and key, and make the tables of erasures."""
    op.add_column("contents", sa.Column("call", sa.Text))
    op.add_column("contents", sa.Column("phase", sa.Text))
    op.add_column("contents", sa.Column("bucket", INT64))
    op.add_column("contents", sa.Column("key", sa.LargeBinary))
    op.create_index("ix_contents_bucket", "contents", ["bucket"])
    for phase, column in (("admitted", "admitted"), ("outcome", "outcome")):
        op.execute(
            f"UPDATE contents SET call = calls.call, phase = '{phase}' FROM calls "
            f"WHERE calls.{column} = contents.idx"
        )
    op.create_table(
        "subjects",
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("subject", sa.LargeBinary, primary_key=True),
        sa.Column("call", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
        comment="The calls for an end user, by the keyed pseudonym of the reference that the client gave.",
    )
    op.create_index("ix_subjects_call", "subjects", ["call"])
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("before", INT64, nullable=False),
        sa.Column("record", INT64),
        sa.Column("done", INT64),
        comment="What was asked to be erased; the index of its record, and when it was carried out (ms).",
    )
    op.create_index("ix_erasures_done", "erasures", ["done"])
    op.create_table(
        "erasure_calls",
        sa.Column("call", sa.Text, primary_key=True),
        sa.Column("erasure", sa.Text, nullable=False),
        sqlite_with_rowid=False,
        comment="The calls that were erased one by one, and by which erasure.",
    )
