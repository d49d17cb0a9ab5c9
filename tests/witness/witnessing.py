"""Witnesses and logs for their tests: in this process, and as servers in processes of their own."""

import copy
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ports import free_port
from regalia.witness.request import AddCheckpoint, build_request
from regalia.witness.witness import Witness
from regalia_verify.note import SignedNote
from serving import ROOT
from verify.paper_log import ORIGIN, PaperLog, Signer

START_S = 200
COMMAND = [sys.executable, "-c", "from regalia.cli.witness import app; app()"]


class Growing(PaperLog):
    """A paper log whose entries are numbers; `branch` makes two logs with one key grow apart."""

    def grow(self, count: int, branch: str = "") -> "Growing":
        """Append entries."""
        start = len(self.entries)
        self.entries += [f"{branch}{number}".encode() for number in range(start, start + count)]
        return self

    def fork(self, size: int, count: int) -> "Growing":
        """Another log with the same key: the same first entries, then others."""
        return self.first(size).grow(count, "fork ")

    def first(self, size: int) -> "Growing":
        """This log when it had `size` entries."""
        then = copy.copy(self)
        then.entries = self.entries[:size]
        return then

    def note(self, size: int | None = None, *signers: Signer) -> SignedNote:
        """The signed checkpoint."""
        return SignedNote.parse(self.signed(size, *signers))

    def request(self, old: int, size: int | None = None) -> AddCheckpoint:
        """An honest request."""
        return build_request(self.note(size), old, self.node)


def a_log(size: int = 0, origin: str = ORIGIN, keys: str = "log") -> Growing:
    """A log with some entries."""
    return Growing(origin, keys).grow(size)


def a_witness(folder: Path, *logs: PaperLog, name: str = "witness.example/1") -> Witness:
    """A new witness that trusts the logs; its clock stands still at 1,800,000,000 s."""
    witness = Witness.create(folder, name, clock=lambda: 1_800_000_000_000)
    for log in logs:
        witness.trust(log.policy_text())
    return witness


def trust_text(log: PaperLog, witnesses: list[Witness], urls: list[str] | None = None) -> str:
    """A trust policy: the log, and every witness with both of its keys."""
    lines = [f"log {log.ed25519.key.encode()}"]
    names = []
    for number, witness in enumerate(witnesses):
        url = urls[number] if urls else ""
        for kind, key in zip(("ed25519", "mldsa44"), witness.keys, strict=True):
            lines.append(f"witness w{number}-{kind} {key.encode()} {url}")
        names.append(f"w{number}")
        lines.append(f"group w{number} all w{number}-ed25519 w{number}-mldsa44")
    lines += [f"group quorum all {' '.join(names)}", "quorum quorum"]
    return "\n".join(lines) + "\n"


@contextmanager
def served(data_dir: Path, *options: str, prefix: list[str] | None = None) -> Iterator["Served"]:
    """A witness server in a process of its own; killed at the end if the test has not ended it."""
    port = free_port()
    command = [*(prefix or []), *COMMAND, "serve", "--data-dir", str(data_dir), "--port", str(port), *options]
    with (data_dir / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
    server = Served(process, port)
    try:
        server.wait()
        yield server
    finally:
        server.kill()


class Served:
    """A running witness server."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int):
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, "the witness server ended"
            assert time.monotonic() < deadline, "the witness server did not start in time"
            with suppress(OSError):
                self.get("/")
                return
            time.sleep(0.05)

    def post(self, body: bytes, path: str = "/add-checkpoint") -> tuple[int, str, bytes]:
        """Status, content type and body of the answer to a request."""
        return self._exchange("POST", path, body)

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a resource."""
        return self._exchange("GET", path, None)

    def kill(self) -> None:
        """SIGKILL, to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(200)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.headers.get("content-type", ""), reply.read()
        finally:
            connection.close()
