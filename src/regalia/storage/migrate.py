"""Bringing a database to the schema this code works with, and refusing any other.

All migrations of one upgrade run in one transaction, on SQLite too: it happens wholly or not at all.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from regalia.errors import RegaliaError
from regalia.storage.database import Database
from regalia.storage.schema import VERSION

_MIGRATIONS = Path(__file__).with_name("migrations")
_UPGRADE_LOCK = 0x52454741  # PostgreSQL advisory lock: one process upgrades, others wait


class SchemaUnknown(RegaliaError):
    """The database has another schema than this code works with."""


class DatabaseUnreachable(RegaliaError):
    """There is no connection to the database."""


def upgrade(database: Database) -> None:
    """Bring the database to the newest schema; refuses one that a newer Regalia has made."""
    from alembic import command  # a quarter of a second that only upgrades have to spend
    from alembic.config import Config

    if database.file is not None:
        database.file.touch(mode=0o600)  # what is in it is for its owner only
    config = Config(attributes={"configure_logger": False})
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        found = schema_version(connection)
        if found == VERSION:
            return
        if found is not None and found not in _known():
            raise _unknown(found)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(database: Database) -> None:
    """Raise SchemaUnknown unless the database has exactly the schema this code works with."""
    if database.file is not None and not database.file.exists():
        raise SchemaUnknown(f"there is no database {database.file}: run `regalia init` first")
    found = schema_of(database)
    if found is None:
        raise SchemaUnknown("the database has no tables yet: run `regalia init` first")
    if found == VERSION:
        return
    if found in _known():
        raise SchemaUnknown(
            f"the database has schema {found}, this Regalia needs {VERSION}: stop all servers that use it, "
            "make a backup, then run `regalia db upgrade`"
        )
    raise _unknown(found)


def schema_of(database: Database) -> str | None:
    """The schema's version, None for a database without tables. Raises DatabaseUnreachable."""
    try:
        with database.read() as connection:
            return schema_version(connection)
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise DatabaseUnreachable(f"the database can't be reached: {reason}") from error


def schema_version(connection: Connection) -> str | None:
    """The schema's version as the database states it, None for a database without tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    versions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return " ".join(sorted(versions)) or None


def _known() -> set[str]:
    return {path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}


def _unknown(found: str) -> SchemaUnknown:
    return SchemaUnknown(
        f"the database has schema {found}, which this Regalia (schema {VERSION}) does not know: "
        "it was made by a newer version; install that version, or restore the database made with this one"
    )
