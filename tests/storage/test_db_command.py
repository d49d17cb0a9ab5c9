"""`regalia db`, and an instance on PostgreSQL, as an operator meets them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from command_line import Ran, command
from regalia.storage import open_database
from serving import REGALIA


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("postgresql")())


def done(*arguments: str) -> Ran:
    """The command, which must succeed."""
    ran = command(*arguments)
    assert ran.code == 0, ran.err
    return ran


def test_status_and_upgrade(tmp_path: Path, url: str) -> None:
    data_dir = tmp_path / "d"
    done("init", "--data-dir", str(data_dir), "--database", url)
    status = done("db", "status", "--data-dir", str(data_dir), "--json").json
    assert status["schema"] == status["needed"]
    assert done("db", "upgrade", "--data-dir", str(data_dir)).out.endswith("already.\n")
    assert (data_dir / "regalia.db").exists() == (url == "sqlite")


def test_a_server_refuses_a_schema_it_does_not_know(tmp_path: Path, url: str) -> None:
    data_dir = tmp_path / "d"
    done("init", "--data-dir", str(data_dir), "--database", url)
    database = open_database(f"sqlite:///{data_dir}/regalia.db" if url == "sqlite" else url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    served = subprocess.run(
        [REGALIA, "serve", "--data-dir", str(data_dir), "--port", "0"],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "REGALIA_EMBEDDED": "false"},
    )  # fmt: skip
    assert served.returncode == 1
    assert "schema 9999" in served.stderr


@pytest.mark.needs("postgres")
def test_the_environment_names_the_database(
    tmp_path: Path, postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, url = tmp_path / "d", postgresql()
    monkeypatch.setenv("REGALIA_DATABASE", url)
    done("init", "--data-dir", str(data_dir))
    monkeypatch.delenv("REGALIA_DATABASE")
    assert not (data_dir / "regalia.db").exists()
    assert "postgresql" in done("db", "status", "--data-dir", str(data_dir)).out


@pytest.mark.needs("postgres")
def test_a_database_belongs_to_one_instance(tmp_path: Path, postgresql: Callable[[], str]) -> None:
    url = postgresql()
    done("init", "--data-dir", str(tmp_path / "d"), "--database", url)
    second = command("init", "--data-dir", str(tmp_path / "e"), "--database", url)
    assert second.code == 1
    assert "another instance's" in second.err
    assert not (tmp_path / "e").exists()


def test_an_unreachable_database_is_one_sentence(tmp_path: Path) -> None:
    made = command(
        "init",
        "--data-dir",
        str(tmp_path / "d"),
        "--database",
        "postgresql://nobody@127.0.0.1:1/x",
    )
    assert made.code == 1
    assert made.err.startswith("regalia: the database can't be reached")
    assert "Traceback" not in made.err
