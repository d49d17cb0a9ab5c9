"""Databases of both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from regalia.storage import Database, open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path}/regalia.db")
    else:
        opened = open_database(request.getfixturevalue("postgresql")())
    yield opened
    opened.close()
