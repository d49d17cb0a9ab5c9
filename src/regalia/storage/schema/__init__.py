"""The tables. One schema for SQLite and PostgreSQL; `migrations/` makes it and a test compares both."""

from regalia.storage.schema import metering, policy, retention, signin, tenancy
from regalia.storage.schema.base import VERSION, Int64, metadata
from regalia.storage.schema.log import (
    calls,
    contents,
    entries,
    erasure_calls,
    erasures,
    log_state,
    registered_models,
    subjects,
)
from regalia.storage.schema.tenancy import api_keys

__all__ = [
    "VERSION",
    "Int64",
    "api_keys",
    "calls",
    "contents",
    "entries",
    "erasure_calls",
    "erasures",
    "log_state",
    "metadata",
    "metering",
    "policy",
    "registered_models",
    "retention",
    "signin",
    "subjects",
    "tenancy",
]
