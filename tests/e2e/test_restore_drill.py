"""The drill of docs/operations.md: back up while serving, lose everything, restore, check, go on."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postgresql_kit import Cluster, running_cluster
from regalia.ledger.neighbours import GRACE_S
from regalia_verify.log import verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from regalia_verify.source import open_source
from serving import Exchange, FakeEngine, Server, ServerFactory, regalia

CALLS = 150
"""Enough records, two a call, that full tiles are copied and rows leave SQLite meanwhile."""


@pytest.fixture(scope="module")
def cluster(needs: Callable[[str], Path]) -> Iterator[Cluster]:
    with running_cluster(needs("postgres")) as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def databases(request: pytest.FixtureRequest) -> Iterator[str]:
    """URLs for the instance and for what is restored from it."""
    if request.param == "sqlite":
        return iter(["sqlite", "sqlite"])
    cluster: Cluster = request.getfixturevalue("cluster")
    return iter([cluster.fresh(), cluster.fresh()])


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Calls while the block runs."""
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            server.post(
                "/v1/chat/completions", {"model": "fake", "messages": [{"role": "user", "content": "?"}]}
            )

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def command(*arguments: str) -> str:
    return regalia(*arguments, env={"REGALIA_DATABASE": ""}).stdout


def test_the_drill(
    new_server: ServerFactory,
    fake_engine: FakeEngine,
    databases: Iterator[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGALIA_DATABASE", next(databases))
    server = new_server(**fake_engine.config, log_level="warning")
    monkeypatch.delenv("REGALIA_DATABASE")
    server.start()
    answered: list[Exchange] = [server.chat(f"Question {n}") for n in range(CALLS)]
    held = server.receipt(answered[0].call)
    server.wait_closed()  # they are published: as many are in the backup at least
    folder = tmp_path / "backup"
    with busy(server):
        made = json.loads(
            command("backup", "--data-dir", str(server.data_dir), "--to", str(folder), "--json")
        )
    assert made["size"] >= made["published"] > 2 * CALLS - 20
    policy = TrustPolicy.parse(server.policy())
    before = (folder / "log" / "checkpoint").read_bytes()
    server.stop()

    lost = server.data_dir.with_name("lost")
    server.data_dir.rename(lost)
    url = next(databases)
    command("restore", "--from", str(folder), "--data-dir", str(server.data_dir), "--database", url)
    checked = json.loads(command("log", "fsck", "--data-dir", str(server.data_dir), "--json"))
    assert checked["sound"], checked
    server.start()
    verify_receipt(held, policy, request=answered[0].request, response=answered[0].committed)
    for exchange in answered[::30]:
        receipt = server.receipt(exchange.call)
        verify_receipt(receipt, policy, request=exchange.request, response=exchange.committed)
    assert server.chat("And now?").status == 200
    if url != "sqlite":
        server.wait_closed(GRACE_S + 200)  # also the calls that the backup caught open
    assert server.stop() == 0
    verify_log(open_source(str(server.data_dir / "log")), policy, previous=before, closed=True)


def test_a_restore_refuses_to_move_a_log_backwards(
    new_server: ServerFactory, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    server = new_server(**fake_engine.config, log_level="warning")
    server.start()
    server.chat()
    folder, data_dir = tmp_path / "backup", server.data_dir
    command("backup", "--data-dir", str(data_dir), "--to", str(folder))
    again = regalia("backup", "--data-dir", str(data_dir), "--to", str(folder), check=False)
    assert "is not empty" in again.stderr
    server.chat()
    server.stop()

    def refused() -> str:
        done = regalia("restore", "--from", str(folder), "--data-dir", str(data_dir), check=False)
        assert done.returncode == 1
        return done.stderr

    assert "holds an instance" in refused()
    (data_dir / "instance.json").unlink()
    (data_dir / "regalia.db").unlink()
    kept = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    assert "would move the log backwards" in refused()
    assert {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()} == kept
    (folder / "regalia.db").write_bytes(b"")
    shutil.rmtree(data_dir)
    assert "is not what was backed up" in refused()
    (folder / "keys" / "log-mldsa44.pem").rename(tmp_path / "apart")
    (folder / "regalia.db").unlink()
    assert "is missing from the backup" in refused()
    assert not data_dir.exists()
