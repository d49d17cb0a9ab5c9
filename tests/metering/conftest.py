"""Databases of both kinds, with the newest schema."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postgresql_kit import running_cluster
from regalia.storage import Database, open_database, upgrade


@pytest.fixture(scope="module")
def postgresql(needs: Callable[[str], Path]) -> Iterator[Callable[[], str]]:
    """A factory of URLs of fresh databases on a server of our own."""
    with running_cluster(needs("postgres")) as cluster:
        yield cluster.fresh


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path}/regalia.db")
    else:
        opened = open_database(request.getfixturevalue("postgresql")())
    upgrade(opened)
    yield opened
    opened.close()
