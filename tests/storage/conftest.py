"""A private PostgreSQL server on a Unix socket, and databases of both kinds."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regalia.storage import Database, open_database


def _as_postgres() -> dict[str, int]:
    """PostgreSQL refuses to run as root: then it runs as Debian's user for it."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid}


@pytest.fixture(scope="session")
def postgresql(needs: Callable[[str], Path]) -> Iterator[Callable[[], str]]:
    """A factory of URLs of fresh databases on a server of our own."""
    programs = needs("postgres").resolve().parent
    whom = _as_postgres()
    folder = Path(tempfile.mkdtemp(prefix="regalia-pg-", dir="/tmp"))  # short: it holds a socket
    if whom:
        os.chown(folder, whom["user"], whom["group"])

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **whom)  # type: ignore[call-overload]

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "regalia", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    settings = f"-c listen_addresses= -c unix_socket_directories={folder}"
    run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", settings, "start")
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        run("createdb", "-h", str(folder), "-U", "regalia", f"test{count}")
        return f"postgresql://regalia@/test{count}?host={folder}"

    try:
        yield fresh
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path}/regalia.db")
    else:
        opened = open_database(request.getfixturevalue("postgresql")())
    yield opened
    opened.close()
