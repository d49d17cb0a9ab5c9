"""`regalia db`, and an instance on PostgreSQL, as an operator meets them."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from regalia.storage import open_database
from serving import REGALIA, regalia


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("postgresql")())


def test_status_and_upgrade(tmp_path: Path, url: str) -> None:
    data_dir = tmp_path / "d"
    regalia("init", "--data-dir", str(data_dir), "--database", url)
    status = json.loads(regalia("db", "status", "--data-dir", str(data_dir), "--json").stdout)
    assert status["schema"] == status["needed"]
    assert regalia("db", "upgrade", "--data-dir", str(data_dir)).stdout.endswith("already.\n")
    assert (data_dir / "regalia.db").exists() == (url == "sqlite")


def test_a_server_refuses_a_schema_it_does_not_know(tmp_path: Path, url: str) -> None:
    data_dir = tmp_path / "d"
    regalia("init", "--data-dir", str(data_dir), "--database", url)
    database = open_database(f"sqlite:///{data_dir}/regalia.db" if url == "sqlite" else url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    served = subprocess.run(
        [REGALIA, "serve", "--data-dir", str(data_dir), "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "REGALIA_EMBEDDED": "false"},
    )  # fmt: skip
    assert served.returncode == 1
    assert "schema 9999" in served.stderr


@pytest.mark.needs("postgres")
def test_the_environment_names_the_database(tmp_path: Path, postgresql: Callable[[], str]) -> None:
    data_dir, url = tmp_path / "d", postgresql()
    regalia("init", "--data-dir", str(data_dir), env={"REGALIA_DATABASE": url})
    assert not (data_dir / "regalia.db").exists()
    assert "postgresql" in regalia("db", "status", "--data-dir", str(data_dir)).stdout


@pytest.mark.needs("postgres")
def test_a_database_belongs_to_one_instance(tmp_path: Path, postgresql: Callable[[], str]) -> None:
    url = postgresql()
    regalia("init", "--data-dir", str(tmp_path / "d"), "--database", url)
    second = regalia("init", "--data-dir", str(tmp_path / "e"), "--database", url, check=False)
    assert second.returncode == 1
    assert "another instance's" in second.stderr
    assert not (tmp_path / "e").exists()


def test_an_unreachable_database_is_one_sentence(tmp_path: Path) -> None:
    made = regalia(
        "init",
        "--data-dir",
        str(tmp_path / "d"),
        "--database",
        "postgresql://nobody@127.0.0.1:1/x",
        check=False,
    )
    assert made.returncode == 1
    assert made.stderr.startswith("regalia: the database can't be reached")
    assert "Traceback" not in made.stderr
