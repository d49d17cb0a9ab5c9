"""A fresh instance's folder for each test of the vault."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.instances import Instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "instance")
    yield made
    made.close()
