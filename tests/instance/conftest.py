"""An instance's tenancy over a real database: SQLite for most tests, both kinds where they may differ."""

import shutil
from pathlib import Path

import pytest

from instance.tenancy_kit import World
from regalia.storage import open_database, upgrade


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database file, to be copied: migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "regalia.db"
    database = open_database(f"sqlite:///{file}")
    upgrade(database)
    database.close()
    return file


@pytest.fixture
async def world(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> World:
    """A new instance, on SQLite."""
    file = shutil.copy(migrated, tmp_path / "regalia.db")
    return await _world(request, f"sqlite:///{file}")


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_world(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> World:
    """A new instance, once on each kind of database."""
    if request.param == "sqlite":
        return await _world(request, f"sqlite:///{shutil.copy(migrated, tmp_path / 'regalia.db')}")
    url = request.getfixturevalue("postgresql")()
    database = open_database(url)
    upgrade(database)
    database.close()
    return await _world(request, url)


async def _world(request: pytest.FixtureRequest, url: str) -> World:
    database = open_database(url)
    request.addfinalizer(database.close)
    made = World(database)
    await made.live.refresh()
    return made
