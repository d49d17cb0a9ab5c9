"""The migrations make exactly the schema that the code works with, and nothing else is accepted."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from regalia.storage import Database, SchemaUnknown, check_schema, open_database, schema, upgrade
from regalia.storage.migrate import schema_version


def test_migrations_make_the_declared_schema(database: Database) -> None:
    upgrade(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert schema_version(connection) == schema.VERSION
    check_schema(database)


def test_an_upgrade_of_the_newest_changes_nothing(database: Database) -> None:
    upgrade(database)
    with database.write() as connection:
        connection.execute(text("UPDATE log_state SET size = 7"))
    upgrade(database)
    with database.read() as connection:
        assert connection.execute(text("SELECT size FROM log_state")).scalar_one() == 7


def test_a_schema_of_a_newer_version_is_refused(database: Database) -> None:
    upgrade(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (upgrade, check_schema):
        with pytest.raises(SchemaUnknown, match=r"schema 9999.*made by a newer version"):
            attempt(database)


def test_an_upgrade_that_fails_leaves_nothing_behind(database: Database) -> None:
    if database.file is not None:
        database.file.touch()
    with database.write() as connection:
        connection.execute(text("CREATE TABLE contents (x int)"))  # in the way of the first migration
    with pytest.raises(Exception, match="already exists"):
        upgrade(database)
    with database.read() as connection:
        assert schema_version(connection) is None
    with pytest.raises(SchemaUnknown, match="no tables yet"):
        check_schema(database)


def test_a_missing_file_is_not_made_by_looking_for_it(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/regalia.db")
    with pytest.raises(SchemaUnknown, match=r"there is no database.*run `regalia init`"):
        check_schema(database)
    assert list(tmp_path.iterdir()) == []
    upgrade(database)
    assert (tmp_path / "regalia.db").stat().st_mode & 0o777 == 0o600
