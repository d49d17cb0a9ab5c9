"""Who may ask: organisations, their projects, people with their roles, and API keys.

Every row says in `changed` in which generation it was last written, and `identity_state` holds the newest
generation: so a process that looks twice a second reads only what is new. Rows are never deleted; what
ended has the time of its end. Times are milliseconds since the epoch, lists are JSON, NULL is "all". The
`scope` of a key that is no person's is where its `role` holds: "instance", "organisation" or "project".
"""

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text

from regalia.storage.schema.base import Int64, metadata

identity_state = Table(
    "identity_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", Int64, nullable=False),
    CheckConstraint("id = 1", name="identity_state_is_one_row"),
    comment="One row, whose lock orders changes: each raises `generation` before it writes.",
)

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created", Int64, nullable=False),
    Column("archived", Int64),
    Column("changed", Int64, nullable=False, index=True),
    comment="Organisations: who is accountable for its projects.",
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("ceiling", Text, nullable=False),
    Column("jurisdiction", Text, nullable=False),
    Column("models", Text),
    Column("retention", Text, nullable=False),
    Column("created", Int64, nullable=False),
    Column("archived", Int64),
    Column("changed", Int64, nullable=False, index=True),
    comment="Projects: the boundary of who sees what. `ceiling` is a classification label.",
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("organisation", Text, nullable=False, index=True),
    Column("created", Int64, nullable=False),
    Column("disabled", Int64),
    Column("changed", Int64, nullable=False, index=True),
    comment="People. Names and addresses are here and nowhere else; records carry pseudonyms.",
)

role_grants = Table(
    "role_grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("source", Text, nullable=False, server_default=""),
    Column("created", Int64, nullable=False),
    Column("ended", Int64),
    Column("changed", Int64, nullable=False, index=True),
    comment="A person's roles. Organisation '' is the whole instance, project '' the whole organisation.",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("organisation", Text, nullable=False, server_default="default"),
    Column("project", Text, nullable=False, server_default="default"),
    Column("scope", Text, nullable=False, server_default="project"),
    Column("user", Text, nullable=False, server_default=""),
    Column("issuer", Text, nullable=False, server_default=""),
    Column("hint", Text, nullable=False, server_default=""),
    Column("models", Text),
    Column("routes", Text),
    Column("networks", Text),
    Column("created", Int64, nullable=False),
    Column("expires", Int64),
    Column("revoked", Int64),
    Column("successor", Text),
    Column("changed", Int64, nullable=False, server_default="1", index=True),
    comment="API keys by their keyed hash; times are milliseconds since the epoch.",
)

content_requests = Table(
    "content_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("call", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("created", Int64, nullable=False),
    Column("decided", Int64),
    Column("decider", Text),
    Column("granted", Integer),
    Column("until", Int64),
    Index("content_requests_of_project", "project", "created"),
    comment="Who asked to read a call's content, for what, and what a second person decided.",
)

content_reads = Table(
    "content_reads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("call", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("reader", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("record", Int64, nullable=False),
    Column("time", Int64, nullable=False),
    Index("content_reads_of_project", "project", "time"),
    comment="Each reading of a call's content, and the index of its record.",
)
