"""The log's tables: its entries, the calls in it, what was said, and what of that was erased.

Hot tables are append-only at their right edge: `entries` and `contents` by log index, `calls` by an
identifier that sorts by time.
"""

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, text

from regalia.storage.schema.base import Int64, metadata

log_state = Table(
    "log_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", Int64, nullable=False),
    Column("published_size", Int64, nullable=False),
    Column("published_root", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="log_state_is_one_row"),
    comment="The log's head. Whoever holds this row's lock assigns the next indices.",
)

entries = Table(
    "entries",
    metadata,
    Column("idx", Int64, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
    comment="Log entries that are not yet in a full, durable entry bundle.",
)

calls = Table(
    "calls",
    metadata,
    Column("call", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("admitted", Int64, nullable=False),
    Column("admitted_hash", LargeBinary, nullable=False),
    Column("outcome", Int64),
    Index(
        "calls_open",
        "process",
        sqlite_where=Column("outcome").is_(None),
        postgresql_where=Column("outcome").is_(None),
    ),
    sqlite_with_rowid=False,
    comment="Where a call's admission and its outcome are in the log; the outcome is NULL while it runs.",
)

contents = Table(
    "contents",
    metadata,
    Column("idx", Int64, primary_key=True, autoincrement=False),
    Column("sealing", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("call", Text),
    Column("phase", Text),
    Column("bucket", Int64),
    Column("key", LargeBinary),
    # By the bucket alone, each record of a batch would be on a page of its own (see `bucket_spans`).
    Index("contents_found", text("(idx >> 10)"), "bucket"),
    comment="What a record's commitments open to, sealed by the vault; one row a record, by its index.",
)

bucket_spans = Table(
    "bucket_spans",
    metadata,
    Column("bucket", Int64, primary_key=True, autoincrement=False),
    Column("first", Int64, nullable=False),
    Column("last", Int64, nullable=False),
    comment="Between which blocks of the log the contents of a bucket are, both included.",
)

subjects = Table(
    "subjects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("subject", LargeBinary, primary_key=True),
    Column("call", Text, primary_key=True, index=True),
    sqlite_with_rowid=False,
    comment="The calls for an end user, by the keyed pseudonym of the reference that the client gave.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("plan", LargeBinary, nullable=False),
    Column("project", Text, nullable=False),
    Column("before", Int64, nullable=False),
    Column("record", Int64),
    Column("done", Int64, index=True),
    comment="What was asked to be erased; the index of its record, and when it was carried out (ms).",
)

erasure_calls = Table(
    "erasure_calls",
    metadata,
    Column("call", Text, primary_key=True),
    Column("erasure", Text, nullable=False),
    sqlite_with_rowid=False,
    comment="The calls that were erased one by one, and by which erasure.",
)

registered_models = Table(
    "registered_models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    comment="The models whose registration is in the log, by name, with the manifest's digest.",
)
