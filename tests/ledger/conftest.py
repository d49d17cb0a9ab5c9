"""A fresh data directory for each test."""

from pathlib import Path

import pytest

from ledger_kit import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path / "d")
