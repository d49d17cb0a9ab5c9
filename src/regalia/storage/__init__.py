"""The database and its migrations: SQLite as the embedded default, PostgreSQL when it is outgrown."""

from regalia.storage.database import Database, open_database
from regalia.storage.migrate import SchemaUnknown, check_schema, upgrade

__all__ = ["Database", "SchemaUnknown", "check_schema", "open_database", "upgrade"]
