"""What a bucket's contents are found by: blocks of the log, so that writing a batch touches few pages.

The index by the bucket alone put each record of a batch on a page of its own, one for each project.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Index contents by block and bucket, and note where each bucket's are."""
    op.create_table(
        "bucket_spans",
        sa.Column("bucket", INT64, primary_key=True, autoincrement=False),
        sa.Column("first", INT64, nullable=False),
        sa.Column("last", INT64, nullable=False),
        comment="Between which blocks of the log the contents of a bucket are, both included.",
    )
    op.execute(
        "INSERT INTO bucket_spans (bucket, first, last) SELECT bucket, (min(idx) >> 16) << 6, "
        "((max(idx) >> 16) << 6) + 63 FROM contents WHERE bucket IS NOT NULL GROUP BY bucket"
    )
    op.drop_index("ix_contents_bucket", "contents")
    op.create_index("contents_found", "contents", [sa.text("(idx >> 10)"), "bucket"])
