"""When the record cannot be made durable nothing is answered, and service resumes by itself when it can."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from regalia_verify.log import verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import open_source
from serving import PATIENCE_S, Exchange, FakeEngine, Server, ServerDidNotStart, ServerFactory, regalia

QUESTION = {"model": "fake", "messages": [{"role": "user", "content": "What is the capital of Kenya?"}]}


def ask(server: Server, **fields: object) -> Exchange:
    return server.post("/v1/chat/completions", {**QUESTION, **fields})


def assert_refused(exchange: Exchange) -> None:
    assert exchange.status == 503, exchange.body
    assert exchange.json["error"]["code"] == "audit_unavailable"
    assert "Nairobi" not in exchange.body.decode()


def fill(folder: Path) -> Path:
    """Take every free byte of the file system; gives the file that holds them."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return ballast


def wait_until_answered(server: Server, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while (exchange := ask(server)).status != 200:
        assert time.monotonic() < deadline, exchange.body
        time.sleep(0.2)


def assert_log_holds(server: Server) -> None:
    policy = TrustPolicy.parse(server.policy())
    assert server.stop() == 0
    verify_log(open_source(str(server.data_dir / "log")), policy, closed=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system: sudo make test")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_disk_full(small_disk: Path, new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(data_dir=small_disk / "d", **fake_engine.config).start()
    assert ask(server).status == 200
    ballast = fill(small_disk)
    refused = 0
    for _ in range(200):  # what the database has room for in its own file may still be recorded
        exchange = ask(server, user="x" * 900)
        if exchange.status != 200:
            assert_refused(exchange)
            refused += 1
        if refused == 5:
            break
    assert refused == 5
    streamed = ask(server, stream=True)
    assert_refused(streamed)
    assert server.get("/healthz").status_code == 200
    assert server.get("/readyz").status_code == 503
    ballast.unlink()
    wait_until_answered(server)
    assert_log_holds(server)


def test_a_stream_that_cannot_be_recorded_does_not_end_well(
    small_disk: Path, new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(data_dir=small_disk / "d", **fake_engine.config).start()
    body = {**QUESTION, "stream": True, "fake": {"hold": "disk full"}}
    with server.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200
        parts = reply.iter_bytes()
        received = next(parts)
        ballast = fill(small_disk)
        tries = 0
        while ask(server, user="x" * 1000).status == 200:  # room inside the database's own files is left
            tries += 1
            assert tries < 200
        fake_engine.release("disk full")
        received += b"".join(parts)
    assert b"audit_unavailable" in received
    assert b"[DONE]" not in received
    ballast.unlink()
    wait_until_answered(server)
    record = server.wait_record(reply.headers["x-regalia-call"])
    assert record["kind"] in {"call.failed", "call.aborted"}
    assert "Traceback" not in server.tail(100_000), server.tail()
    assert_log_holds(server)


@pytest.mark.parametrize("name", ["log-ed25519.pem", "log-mldsa44.pem"])
def test_signing_key_moved_away(name: str, new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config).start()
    assert ask(server).status == 200
    key = server.data_dir / "keys" / name
    hidden = key.with_name("hidden")
    key.rename(hidden)
    deadline = time.monotonic() + PATIENCE_S
    while (exchange := ask(server)).status == 200:
        assert time.monotonic() < deadline, "calls are still answered"
        time.sleep(0.2)
    assert_refused(exchange)
    assert_refused(ask(server, stream=True))
    assert server.get("/readyz").status_code == 503
    hidden.rename(key)
    wait_until_answered(server)
    assert_log_holds(server)


def test_database_gone(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config).start()
    assert ask(server).status == 200
    files = [server.data_dir / f"regalia.db{suffix}" for suffix in ("", "-wal", "-shm")]
    for file in files:
        file.rename(file.with_name(file.name + ".gone"))
    deadline = time.monotonic() + PATIENCE_S
    while (exchange := ask(server)).status == 200:
        assert time.monotonic() < deadline, "calls are still answered though the database is gone"
        time.sleep(0.2)
    assert_refused(exchange)
    for file in files:
        file.unlink(missing_ok=True)
        file.with_name(file.name + ".gone").rename(file)
    wait_until_answered(server)
    assert_log_holds(server)


def test_the_server_does_not_start_without_its_key(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(**fake_engine.config)
    (server.data_dir / "keys" / "log-ed25519.pem").unlink()
    with pytest.raises(ServerDidNotStart, match=r"log-ed25519\.pem"):
        server.start()


def test_a_restored_older_database_halts_the_start(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(**fake_engine.config).start()
    assert ask(server).status == 200
    server.stop()
    backup = server.data_dir.with_name("backup")
    shutil.copytree(server.data_dir, backup)
    server.start()
    for _ in range(3):
        assert ask(server).status == 200
    checkpoint = httpx.get(f"{server.url}/log/checkpoint", timeout=60).text
    server.stop()
    newest = (server.data_dir / "log" / "checkpoint").read_text()
    for file in server.data_dir.glob("regalia.db*"):
        file.unlink()
    for file in backup.glob("regalia.db*"):
        shutil.copy2(file, server.data_dir)
    with pytest.raises(ServerDidNotStart) as halted:
        server.start()
    told = str(halted.value)
    assert "Traceback" not in told
    assert "backwards" in told or "older" in told
    assert newest.split("\n")[1] in told, "the message says which size was published"
    assert server.process is not None
    assert server.process.returncode not in {0, None}
    after = (server.data_dir / "log" / "checkpoint").read_text()
    assert after == newest
    assert int(checkpoint.split("\n")[1]) <= int(newest.split("\n")[1])


def test_two_servers_cannot_share_an_instance(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config).start()
    second = Server(server.data_dir, config=server.config)
    done = regalia(*second.command()[1:], check=False)
    assert done.returncode not in {0, None}
    assert "Traceback" not in done.stderr + done.stdout
    assert ask(server).status == 200
