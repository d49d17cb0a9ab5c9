"""Databases of both kinds, with the newest schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from regalia.storage import Database, open_database, upgrade


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
