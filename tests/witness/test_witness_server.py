"""A witness on the wire: statuses, bounds, concurrency, and what is on disk before a reply."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from regalia.witness.errors import Refused
from regalia.witness.request import MAX_REQUEST
from regalia.witness.roster import cosignatures_of, parse_answer, peers_of
from regalia.witness.witness import Witness
from regalia_verify.note import SignedNote
from regalia_verify.policy import TrustPolicy
from serving import ROOT
from witness.witnessing import Growing, Served, a_log, a_witness, served, trust_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("witness") / "w"
    a_witness(place).close()
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with served(folder, "--body-seconds", "2") as running:
        yield running


@pytest.fixture
def log(folder: Path, request: pytest.FixtureRequest) -> Growing:
    """A log of its own for each test; the running witness learns to trust it."""
    log = a_log(40, origin=f"{request.node.name}.example/log")
    witness = Witness.open(folder)
    witness.trust(log.policy_text())
    witness.close()
    return log


def test_every_status_of_the_protocol(server: Served, log: Growing) -> None:
    status, kind, body = server.post(log.request(0, 10).encode())
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert [line[:2] for line in body.decode().splitlines()] == ["— ", "— "]
    assert server.post(log.request(0, 20).encode()) == (409, "text/x.tlog.size", b"10\n")
    assert server.post(b"old 1\n")[0] == 400
    assert server.post(msgspec.structs.replace(log.request(0), old=41).encode())[0] == 400
    stranger = Growing(log.origin, "stranger", log.entries)
    assert server.post(stranger.request(10).encode())[0] == 403
    assert server.post(a_log(3, "unknown.example/log").request(0).encode())[0] == 404
    assert server.post(msgspec.structs.replace(log.request(10), proof=()).encode())[0] == 422
    assert server.post(log.request(10).encode())[0] == 200


def test_other_paths_and_methods(server: Served) -> None:
    assert server.get("/add-checkpoint")[0] == 405
    assert server.post(b"", f"/{'0' * 64}/checkpoint")[0] == 405
    for path in ("/", "/add-checkpoint/", "/x/add-checkpoint", "/a/b/c", f"/{'0' * 64}/checkpoint"):
        assert server.get(path)[0] == 404


def test_monitors_get_the_latest_cosigned_checkpoint(server: Served, folder: Path, log: Growing) -> None:
    path = f"/{hashlib.sha256(log.origin.encode()).hexdigest()}/checkpoint"
    assert server.get(path)[0] == 404
    server.post(log.request(0, 7).encode())
    answer = server.post(log.request(7, 12).encode())[2].decode()
    note = server.get(path)[2].decode()
    assert note.endswith(answer)
    witness = Witness.open(folder)
    endorsement = TrustPolicy.parse(trust_text(log, [witness])).check(SignedNote.parse(note))
    assert endorsement.checkpoint == log.checkpoint(12)


def test_of_many_concurrent_updates_from_one_size_one_wins(server: Served, log: Growing) -> None:
    assert server.post(log.request(0, 5).encode())[0] == 200
    requests = [log.request(5, size).encode() for size in range(6, 30)]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(server.post, requests))
    assert Counter(status for status, _, _ in replies) == {200: 1, 409: len(requests) - 1}
    won = next(size for size, reply in zip(range(6, 30), replies, strict=True) if reply[0] == 200)
    assert server.post(log.request(0).encode())[2] == f"{won}\n".encode()


def test_two_processes_on_one_book_still_let_one_win(server: Served, folder: Path, log: Growing) -> None:
    def over_http(size: int) -> int:
        return server.post(log.request(0, size).encode())[0]

    def in_this_process(size: int) -> int:
        witness = Witness.open(folder)
        try:
            witness.cosign(log.request(0, size))
        except Refused as refusal:
            return refusal.status
        else:
            return 200
        finally:
            witness.close()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit((over_http, in_this_process)[size % 2], size) for size in range(1, 17)]
        assert Counter(future.result() for future in asked) == {200: 1, 409: 15}


def test_a_larger_body_is_413_before_it_is_read(server: Served) -> None:
    head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {MAX_REQUEST + 1}\r\n\r\n"
    assert raw(server, head.encode()).startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(server, head.encode() + chunk * 3).startswith(b"HTTP/1.1 413")


def test_slow_clients_are_cut_off_and_hold_nobody_up(server: Served, log: Growing) -> None:
    slow_body = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold"
    slow_head = b"POST /add-checkpoint HTTP/1.1\r\nHost:"
    answers: list[bytes] = []
    slow = [
        threading.Thread(target=lambda data=data: answers.append(raw(server, data)))
        for data in (slow_body, slow_head) * 10
    ]
    for thread in slow:
        thread.start()
    assert server.post(log.request(0).encode())[0] == 200
    for thread in slow:
        thread.join(60)
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 408"] * 20


def test_a_client_that_leaves_is_forgotten(server: Served, log: Growing) -> None:
    body = log.request(0).encode()
    head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body[:50])
    assert server.post(log.request(0, 3).encode())[0] == 200


def raw(server: Served, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(data)
        return connection.recv(4096)


def test_a_prefix_and_a_clean_end(tmp_path: Path) -> None:
    log = a_log(5)
    a_witness(tmp_path / "w", log).close()
    with served(tmp_path / "w", "--prefix", "/w1") as server:
        assert server.post(log.request(0).encode())[0] == 404
        assert server.post(log.request(0).encode(), "/w1/add-checkpoint")[0] == 200
        assert server.stop() == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from regalia.witness.request import AddCheckpoint
from regalia.witness.witness import Witness

witness = Witness.open(Path(sys.argv[1]))
enter = witness._book.enter
def enter_and_die(*arguments):
    if sys.argv[2] == "before":
        decide = arguments[2]
        arguments = (*arguments[:2], lambda *known: (decide(*known), os.kill(os.getpid(), signal.SIGKILL))[0])
    enter(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
witness._book.enter = enter_and_die
witness.cosign(AddCheckpoint.parse(sys.stdin.buffer.read()))
"""


@pytest.mark.parametrize(("when", "size"), [("before", 4), ("after", 9)])
def test_killed_around_the_commit_the_book_holds_all_of_it_or_nothing(
    tmp_path: Path, when: str, size: int
) -> None:
    log = a_log(9)
    witness = a_witness(tmp_path / "w", log)
    witness.cosign(log.request(0, 4))
    witness.close()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "w"), when]
    killed = subprocess.run(command, input=log.request(4).encode(), cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    [(_, entry)] = Witness.open(tmp_path / "w").logs()
    assert entry is not None and entry.checkpoint == log.checkpoint(size)
    Witness.open(tmp_path / "w").cosign(log.request(size))  # asked again: answered, and with the same tree


def test_killed_at_random_it_never_forgets_what_it_has_answered(tmp_path: Path) -> None:
    log = a_log(400)
    a_witness(tmp_path / "w", log).close()
    answered = 0
    for pause in (0.05, 0.15, 0.4):
        with served(tmp_path / "w") as server:
            status, _, body = server.post(log.request(0, 400).encode()) if answered else (0, "", b"0\n")
            latest = int(body)
            assert status in {0, 409}
            assert latest in {answered, answered + 1}  # the last one may have been entered, not answered
            answered = latest
            killer = threading.Timer(pause, server.kill)
            try:
                while server.post(log.request(answered, answered + 1).encode())[0] == 200:
                    answered += 1
                    if killer.ident is None:  # only now: the machine may be slow
                        killer.start()
            except OSError:
                continue
    assert answered >= 3


@pytest.mark.needs("strace")
def test_the_commit_is_synced_to_disk_before_the_reply(tmp_path: Path, needs: Callable[[str], Path]) -> None:
    log = a_log(5)
    a_witness(tmp_path / "w", log).close()
    trace = tmp_path / "trace"
    calls = "trace=recvfrom,read,fsync,fdatasync,write,writev,sendto,sendmsg"
    strace = [str(needs("strace")), "-f", "-y", "-s", "200", "-o", str(trace), "-e", calls]
    with served(tmp_path / "w", prefix=strace) as server:
        assert server.post(log.request(0).encode())[0] == 200
        server.kill()
    lines = trace.read_text(errors="replace").splitlines()
    asked = next(n for n, line in enumerate(lines) if "POST /add-checkpoint" in line)
    replied = next(n for n, line in enumerate(lines) if n > asked and '"HTTP/1.1 200' in line)
    synced = [line for line in lines[asked:replied] if re.search(r"f(data)?sync\(.*witness\.db-wal", line)]
    assert synced, "no fsync of the book between request and reply"


@pytest.mark.needs("strace")
@pytest.mark.parametrize("fault", ["fdatasync:error=EIO", "pwrite64:error=ENOSPC"])
def test_a_disk_that_fails_yields_no_cosignature(
    tmp_path: Path, needs: Callable[[str], Path], fault: str
) -> None:
    log = a_log(5)
    a_witness(tmp_path / "w", log).close()
    strace = [str(needs("strace")), "-f", "-o", "/dev/null", "-P", str(tmp_path / "w" / "witness.db-wal")]
    with served(tmp_path / "w", prefix=[*strace, "-e", f"inject={fault}"]) as server:
        status, _, body = server.post(log.request(0).encode())
    assert status == 503
    assert "—" not in body.decode()
    with served(tmp_path / "w") as server:
        latest = 5 if server.post(log.request(3).encode())[2] == b"5\n" else 0
        status, _, body = server.post(log.request(latest).encode())
    assert status == 200
    witness = Witness.open(tmp_path / "w")
    [peer] = peers_of(TrustPolicy.parse(trust_text(log, [witness])))
    assert len(cosignatures_of(peer, parse_answer(log.note(), body))) == 2
