"""`regalia witness init` that is killed half-way: the same command finishes it, and no witness forgets."""

import shutil
from pathlib import Path

import pytest

from file_operations import OPERATIONS, Killed
from regalia.witness.errors import WitnessError
from regalia.witness.witness import Witness
from witness.witnessing import a_log

NAME = "witness.example/1"


def test_killed_at_any_file_operation_it_is_finished(tmp_path: Path) -> None:
    data_dir = tmp_path / "w"
    log = a_log(3)
    for n in range(1, 1000):
        try:
            with OPERATIONS.killed_at(n, data_dir):
                Witness.create(data_dir, NAME)
        except Killed:
            if not (data_dir / "witness.json").exists():
                Witness.create(data_dir, NAME).close()
            witness = Witness.open(data_dir)
            assert witness.name == NAME
            witness.trust(log.policy_text())
            assert len(witness.cosign(log.request(0))) == 2
            witness.close()
        else:
            break
        shutil.rmtree(data_dir)
    assert 10 < n < 1000


def test_a_witness_without_its_book_is_not_begun_again(tmp_path: Path) -> None:
    Witness.create(tmp_path, NAME).close()
    (tmp_path / "witness.json").unlink()
    Witness.create(tmp_path, NAME).close()  # whose book is there goes on
    for lost in ("witness.json", "witness.db"):
        (tmp_path / lost).unlink()
    with pytest.raises(WitnessError, match="lost its book"):
        Witness.create(tmp_path, NAME)
