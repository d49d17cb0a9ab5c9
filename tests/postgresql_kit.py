"""A private PostgreSQL server on a Unix socket, which tests may stop and start as they like."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _as_postgres() -> dict[str, int]:
    """PostgreSQL refuses to run as root: then it runs as Debian's user for it."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid}


class Cluster:
    """One server with databases of its own; its user is `regalia`, and its folder also holds the socket."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._whom: dict[str, Any] = _as_postgres()
        self._count = 0
        if self._whom:
            os.chown(folder, self._whom["user"], self._whom["group"])
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "regalia",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        )

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        settings = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-t", "240", "-o", settings, "start")

    def stop(self, mode: str = "immediate") -> None:
        """End the server; "immediate" is what a crash would leave."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "-t", "240", "stop")

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        self._count += 1
        self._run("createdb", "-h", str(self.folder), "-U", "regalia", f"test{self._count}")
        return f"postgresql://regalia@/test{self._count}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **self._whom)


@contextmanager
def running_cluster(postgres: Path) -> Iterator[Cluster]:
    """A started server, gone after the block; `postgres` is the program."""
    folder = Path(tempfile.mkdtemp(prefix="regalia-pg-", dir="/tmp"))  # short: it holds a socket
    try:
        cluster = Cluster(postgres.resolve().parent, folder)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
