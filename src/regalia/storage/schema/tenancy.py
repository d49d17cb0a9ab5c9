"""Who may ask."""

from sqlalchemy import Column, LargeBinary, Table, Text

from regalia.storage.schema.base import Int64, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created", Int64, nullable=False),
    Column("expires", Int64),
    Column("revoked", Int64),
    comment="API keys by their keyed hash; times are milliseconds since the epoch.",
)
