"""A gateway for each test of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.gateway_kit import House
from ledger_kit import Site


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    ledger = await Site.make(tmp_path).ledger()
    yield House(ledger, tmp_path)
    await ledger.close()
