"""How long contents are kept, what holds them, and which of the log's files have been archived.

A project names its class in `projects.retention`; one that is not in `retention_classes` keeps for ever, as
NULL days do. Times are milliseconds since the epoch.
"""

from sqlalchemy import Column, LargeBinary, Table, Text

from regalia.storage.schema.base import Int64, metadata

retention_classes = Table(
    "retention_classes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content_days", Int64),
    Column("index_days", Int64),
    Column("changed", Int64, nullable=False),
    comment="For how many days contents are kept, and the index by which they are found.",
)

retention_marks = Table(
    "retention_marks",
    metadata,
    Column("retention", Text, primary_key=True),
    Column("index_before", Int64, nullable=False),
    comment="Up to which admission the index has been gone through for a class; only saves work.",
)

erasure_projects = Table(
    "erasure_projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("erasure", Text, primary_key=True),
    Column("since", Int64, nullable=False),
    Column("before", Int64, nullable=False),
    comment="The projects of an erasure by retention, each with the admissions that it covers.",
)

holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("calls", LargeBinary, nullable=False),
    Column("begins", Int64),
    Column("ends", Int64),
    Column("placed_by", Text, nullable=False),
    Column("placed", Int64, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked", Int64),
    Column("lifted_by", Text, nullable=False),
    Column("lifted", Int64),
    comment="Legal holds: their terms, who placed them, who asked to lift them and who agreed.",
)

log_archives = Table(
    "log_archives",
    metadata,
    Column("minimum", Int64, primary_key=True, autoincrement=False),
    Column("record", Int64, nullable=False),
    Column("declared", Int64, nullable=False),
    comment="Declared minimum indices: the files of older entries may be in an archive folder.",
)
