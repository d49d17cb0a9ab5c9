"""Here databases begin empty: creating the schema is what is tested."""

import pytest

from regalia.storage import Database


@pytest.fixture
def database(empty_database: Database) -> Database:
    """An empty database, once of each kind."""
    return empty_database
