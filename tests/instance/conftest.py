"""An instance's tenancy, over a real database of each kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instance.tenancy_kit import World
from postgresql_kit import running_cluster
from regalia.storage import open_database, upgrade


@pytest.fixture(scope="module")
def postgresql(needs: Callable[[str], Path]) -> Iterator[Callable[[], str]]:
    """A factory of URLs of fresh databases on a server of our own."""
    with running_cluster(needs("postgres")) as cluster:
        yield cluster.fresh


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A new instance, once on each kind of database."""
    if request.param == "sqlite":
        database = open_database(f"sqlite:///{tmp_path}/regalia.db")
    else:
        database = open_database(request.getfixturevalue("postgresql")())
    upgrade(database)
    request.addfinalizer(database.close)
    made = World(database)
    await made.live.refresh()
    return made
