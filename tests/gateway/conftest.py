"""A gateway for each test of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.gateway_kit import House
from regalia.ledger import KeyFiles, Ledger, create_keys
from regalia.storage import open_database, upgrade


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    keys = KeyFiles.under(tmp_path / "keys")
    create_keys(keys)
    (tmp_path / "run").mkdir()
    database = open_database(f"sqlite:///{tmp_path / 'regalia.db'}")
    upgrade(database)
    ledger = await Ledger.open(tmp_path, database, process="p", origin="example.test/log", keys=keys)
    yield House(ledger, tmp_path)
    await ledger.close()
    database.close()
