"""An instance: a data directory, and the parts that run on it."""

from regalia.instance.creation import Created, create
from regalia.instance.directory import InstanceError, database_of, identity_of
from regalia.instance.running import Instance, prepare, running

__all__ = [
    "Created",
    "Instance",
    "InstanceError",
    "create",
    "database_of",
    "identity_of",
    "prepare",
    "running",
]
