"""An instance from before there were organisations: its key stays an owner's, its project the same."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import regalia.storage.migrate
from regalia.identity import KeyRing
from regalia.identity.keys import hash_key
from regalia.identity.live import LiveTenants
from regalia.storage import Database, upgrade

SECRET, KEY = b"s" * 32, "rgl_as_it_was"


async def test_what_is_there_belongs_to_the_default_organisation_and_project(database: Database) -> None:
    if database.file is not None:
        database.file.touch()
    config = Config(attributes={"configure_logger": False})
    folder = Path(regalia.storage.migrate.__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        row = {"id": "key_1", "hash": hash_key(SECRET, KEY), "name": "first", "role": "owner", "created": 1}
        connection.execute(
            text(
                "INSERT INTO api_keys (id, hash, name, role, created) "
                "VALUES (:id, :hash, :name, :role, :created)"
            ),
            row,
        )
    upgrade(database)
    live = LiveTenants(database, KeyRing(SECRET, {}))
    await live.refresh()
    principal = live.ring.principal(f"Bearer {KEY}".encode(), route="chat.completions")
    assert (principal.organisation, principal.project, principal.roles) == (
        "default",
        "default",
        frozenset({"owner"}),
    )
    assert [held.organisation for held in principal.held] == [""], "an owner of the whole instance"
