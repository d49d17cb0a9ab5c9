"""The policies in force, and the calls that wait for a reviewer. Times are milliseconds since the epoch."""

from sqlalchemy import Column, LargeBinary, Table, Text

from regalia.storage.schema.base import Int64, metadata

policy_activations = Table(
    "policy_activations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("document", LargeBinary),
    Column("state", Text, nullable=False, index=True),
    Column("requested_by", Text, nullable=False),
    Column("requested", Int64, nullable=False),
    Column("decided_by", Text),
    Column("decided", Int64),
    Column("effective", Int64, nullable=False),
    Column("reverts", Text),
    comment=(
        "Who wanted which pack in force from when, and who agreed. Project '' is the whole instance; no "
        "document means no policy. The newest active one whose time has come is in force."
    ),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Text, primary_key=True),
    Column("call", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("rail", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("created", Int64, nullable=False),
    Column("deadline", Int64, nullable=False),
    Column("default", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("decided", Int64, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("claimed", Int64, nullable=False),
    Column("callback", Text, nullable=False),
    Column("answer", Text, nullable=False),
    comment="Held calls. What was said is not here: it is sealed with the call.",
)
