"""`regalia-verify` as people and scripts use it: exit status, reasons, JSON, folders and URLs."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import regalia_verify.source
from regalia.ledger.writing import encode_proof
from regalia_verify import note
from regalia_verify.cli import main
from regalia_verify.receipt import TlogProof
from regalia_verify.record import canonical
from regalia_verify.strict import base64_text
from verify.paper_log import ORIGIN, PaperLog, Signer, event, sample_log

WITNESS = Signer("witness.example/w1", note.ED25519_COSIGNATURE, "w1")


class Desk:
    """An auditor's desk: a log in a folder, a policy, a receipt with its files."""

    def __init__(self, folder: Path, log: PaperLog):
        self.folder, self.log, self.call = folder, log, log.calls[3]
        log.publish().write(folder / "log")
        self.write("policy", log.policy_text())
        self.write("receipt", log.receipt(self.call))
        self.write("request", self.call.request)
        self.write("response", self.call.response)
        self.write("old", log.signed(5))
        self.write("new", log.signed())

    def write(self, name: str, content: str | bytes) -> str:
        """Put a file on the desk; returns its path."""
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(self.folder / name)

    def path(self, name: str) -> str:
        """Where a file is."""
        return str(self.folder / name)

    def run(self, command: str, *arguments: str) -> int:
        """Run the command with the desk's policy."""
        return main([command, *arguments, "--policy", self.path("policy")])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with an honest log."""
    return Desk(tmp_path, sample_log(7))


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON that the command printed."""
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


def test_a_receipt_verifies_and_says_what_that_proves(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--request", desk.path("request"), "--response", desk.path("response"))
    assert desk.run("receipt", desk.path("receipt"), *files, "--json") == 0
    found = result(capsys)
    assert found["verified"] is True
    assert (found["index"], found["size"], found["origin"]) == (desk.call.outcome, 16, ORIGIN)
    assert found["record"] == json.loads(desk.log.entries[desk.call.outcome])
    assert found["parts"] == {"request": "matches", "response": "matches", "tokens": "matches"}
    assert found["signers"] == [f"{ORIGIN} (Ed25519)", "log-pq"]
    assert found["witnessed"] is False
    assert "the request, response, tokens at hand" in found["proves"]
    assert "No witness" in found["does_not_prove"]
    assert desk.run("receipt", desk.path("receipt")) == 0
    text = capsys.readouterr().out
    assert text.startswith("VERIFIED\n")
    assert desk.call.id in text
    assert '"request": "not compared"' in text


def test_a_witnessed_receipt_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    log = desk.log
    proof = TlogProof.parse(log.receipt(desk.call))
    cosigned = replace(proof, checkpoint=log.signed(None, log.ed25519, log.mldsa, WITNESS))
    desk.write("receipt", encode_proof(cosigned))
    desk.write(
        "policy",
        log.policy_text().replace(
            "quorum log-pq", f"witness w1 {WITNESS.key.encode()}\ngroup both all log-pq w1\nquorum both"
        ),
    )
    assert desk.run("receipt", desk.path("receipt"), "--json") == 0
    found = result(capsys)
    assert (found["witnessed"], found["signers"][-1]) == (True, "w1")
    assert "No witness" not in found["does_not_prove"]


def test_a_failed_check_is_status_1_with_its_reason(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write("request", b"something else")
    assert desk.run("receipt", desk.path("receipt"), "--request", desk.path("request"), "--json") == 1
    found = result(capsys)
    assert (found["verified"], found["reason"]) == (False, "request_mismatch")
    assert desk.run("receipt", desk.path("receipt"), "--request", desk.path("request")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "NOT VERIFIED (request_mismatch): the request is not the one that the record commits to\n"
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("receipt missing", {"receipt": None}),
        ("receipt malformed", {"receipt": b"hello"}),
        ("receipt too long", {"receipt": b"x" * (16 * 2**20 + 1)}),
        ("policy missing", {"policy": None}),
        ("policy malformed", {"policy": b"quorum none\n"}),
        ("request missing", {"request": None}),
    ],
)
def test_unusable_input_is_status_2(
    desk: Desk, capsys: pytest.CaptureFixture[str], name: str, change: dict[str, bytes | None]
) -> None:
    for file, content in change.items():
        if content is None:
            Path(desk.path(file)).unlink()
        else:
            desk.write(file, content)
    assert desk.run("receipt", desk.path("receipt"), "--request", desk.path("request"), "--json") == 2
    found = result(capsys)
    assert (found["verified"], found["reason"]) == (False, "unusable_input")


@pytest.mark.parametrize(
    "arguments", [[], ["receipt"], ["frobnicate"], ["log", "x"], ["consistency", "a", "b", "--policy", "p"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: regalia-verify" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["receipt", "--help"], ["log", "--help"], ["consistency", "--help"]]
)
def test_help_is_status_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "--policy" in capsys.readouterr().out


def test_a_log_in_a_folder(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("log", desk.path("log"), "--previous", desk.path("old"), "--json") == 0
    found = result(capsys)
    assert (found["verified"], found["size"], found["extends_size"], found["open_calls"]) == (True, 16, 5, 0)
    assert found["kinds"] == {"call.admitted": 7, "call.answered": 7, "log.opened": 1, "model.registered": 1}
    assert found["first_time"] == "2026-09-21T14:13:20Z"
    assert desk.run("log", desk.path("log")) == 0
    assert capsys.readouterr().out.startswith("VERIFIED\n")


def test_open_calls_are_reported_and_a_fault_only_in_a_closed_log(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    call = desk.log.begin(70)
    desk.log.publish().write(desk.folder / "log")
    assert desk.run("log", desk.path("log"), "--json") == 0
    found = result(capsys)
    assert (found["open_calls"], found["first_open_calls"]) == (1, [call.id])
    assert desk.run("log", desk.path("log"), "--closed", "--json") == 1
    assert result(capsys)["reason"] == "outcome_missing"


def test_a_clock_that_went_backwards_is_reported(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.log.add(event("admin.note") | {"time": 5})
    desk.log.publish().write(desk.folder / "log")
    assert desk.run("log", desk.path("log"), "--json") == 0
    assert result(capsys)["times_backwards"] == 1


def test_a_clock_set_to_the_end_of_time_is_reported(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.log.add(event("admin.note") | {"time": 2**53 - 1})
    desk.log.publish().write(desk.folder / "log")
    assert desk.run("log", desk.path("log"), "--json") == 0
    assert result(capsys)["last_time"].startswith("287396-")


def test_a_log_that_is_not_there_is_status_2(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("log", desk.path("nowhere")) == 2
    assert desk.run("log", "file:///etc") == 2
    assert "not a folder" in capsys.readouterr().err


def test_consistency_is_seen_in_the_tiles(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    pair = (desk.path("old"), desk.path("new"))
    assert desk.run("consistency", *pair, "--log", desk.path("log"), "--json") == 0
    assert result(capsys)["extends_size"] == 5
    assert desk.run("consistency", *pair[::-1], "--log", desk.path("log")) == 1
    assert "log_shrunk" in capsys.readouterr().err


def test_equal_and_empty_checkpoints_are_consistent(desk: Desk) -> None:
    desk.write("empty", desk.log.signed(0))
    for old, new in (("old", "old"), ("empty", "new"), ("empty", "empty")):
        assert desk.run("consistency", desk.path(old), desk.path(new), "--log", desk.path("log")) == 0


def test_a_record_cannot_write_to_the_terminal(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    log = desk.log
    call = log.begin(80)
    log.end(call, finish=["\u202e\x1b[2J\x9b", "ok"])
    desk.write("receipt", log.receipt(call))
    assert desk.run("receipt", desk.path("receipt")) == 0
    text = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\u202e" in text


class Hostile(BaseHTTPRequestHandler):
    """Answers `/MODE/checkpoint` in the way that MODE says."""

    def do_GET(self) -> None:
        mode = self.path.split("/")[1]
        if mode == "redirect-file":
            self.redirect("file:///etc/passwd")
        elif mode == "redirect-ftp":
            self.redirect("ftp://127.0.0.1/x")
        elif mode == "loop":
            self.redirect(self.path)
        elif mode == "huge":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (note.MAX_NOTE + 1))
        elif mode == "gzip":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
        elif mode == "silent":
            self.server.released.wait(10)  # type: ignore[attr-defined]
        else:
            self.send_error(500)

    def redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start HTTP servers on loopback."""
    servers = []

    def start(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.released = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """A file server without a log."""

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


def test_a_log_behind_a_url(desk: Desk, serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = serve(partial(Quiet, directory=desk.path("log")))
    assert desk.run("log", url + "/", "--json") == 0
    assert result(capsys)["size"] == 16
    assert desk.run("consistency", desk.path("old"), desk.path("new"), "--log", url) == 0
    (desk.folder / "log" / "tile" / "0" / "000.p" / "16").unlink()
    assert desk.run("log", url) == 1
    assert "file_missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("redirect-file", "302"),
        ("redirect-ftp", "302"),
        ("loop", "302"),
        ("huge", "longer than"),
        ("gzip", "compresses"),
        ("silent", "timed out"),
        ("broken", "500"),
    ],
)
def test_a_hostile_server_is_unusable_input(
    desk: Desk,
    serve: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    message: str,
) -> None:
    monkeypatch.setattr(regalia_verify.source, "TIMEOUT_S", 1)
    assert desk.run("log", f"{serve(Hostile)}/{mode}") == 2
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there_is_unusable_input(desk: Desk, port: int) -> None:
    assert desk.run("log", f"http://127.0.0.1:{port}") == 2


def test_a_receipt_without_openings_needs_a_proof_of_the_erasure(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one it verifies: tests/ledger/test_erasing.py."""
    receipt = desk.log.receipt(desk.call)
    extra = canonical({"entry": base64_text(desk.log.entries[desk.call.outcome]), "openings": {}})
    lines = receipt.split("\n")
    lines[1] = f"extra {base64_text(extra)}"
    desk.write("receipt", "\n".join(lines))
    assert desk.run("receipt", desk.path("receipt"), "--json") == 1
    assert result(capsys)["reason"] == "content_missing_without_erasure"


def test_the_one_file_build_verifies_with_nothing_else_of_ours(desk: Desk) -> None:
    root = Path(__file__).resolve().parents[2]
    builds = [desk.folder / name / "regalia-verify.pyz" for name in ("one", "two")]
    for build in builds:
        subprocess.run([sys.executable, root / "scripts" / "build_pyz.py", build], check=True, timeout=60)
    assert builds[0].read_bytes() == builds[1].read_bytes()
    command: list[str | Path] = [
        sys.executable,
        "-I",
        builds[0],
        "receipt",
        desk.path("receipt"),
        "--policy",
        desk.path("policy"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=desk.folder)
    assert (ran.returncode, ran.stdout.split("\n")[0]) == (0, "VERIFIED"), ran.stderr
