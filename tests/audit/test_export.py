"""The export: in order, at least once, whatever dies in between; to files, syslog and HTTP endpoints."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from regalia.audit.cursor import Cursor, CursorDamaged
from regalia.audit.destinations import DeliveryFailed, EventFile, destination_of
from regalia.audit.export import Export, exporting, published_size
from regalia.config import AuditExport
from regalia.ledger.writing import encode_bundle
from regalia.notes import checkpoint_text
from regalia_verify.note import Checkpoint
from regalia_verify.record import canonical
from regalia_verify.source import TILE_WIDTH, entries_path

ORIGIN = "log.example"


class PaperLog:
    """A published log as far as the export looks at it: a checkpoint and entry bundles."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.folder = data_dir / "log"
        self.entries: list[bytes] = []

    def grow(self, count: int) -> "PaperLog":
        for number in range(len(self.entries), len(self.entries) + count):
            kind = "admin.signed_in" if number % 3 else "call.admitted"
            self.entries.append(canonical({"v": 1, "kind": kind, "time": 1000 + number, "number": number}))
        for n in range(0, len(self.entries), TILE_WIDTH):
            part = self.entries[n : n + TILE_WIDTH]
            path = self.folder / entries_path(n // TILE_WIDTH, len(part))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_bundle(part))
        text = checkpoint_text(Checkpoint(ORIGIN, len(self.entries), b"\x01" * 32))
        (self.folder / "checkpoint").write_text(text + "\n— a signature\n")
        return self


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    return PaperLog(tmp_path / "d").grow(600)


def numbers(events: Sequence[dict[str, Any]]) -> list[int]:
    return [json.loads(event["raw_data"])["number"] for event in events]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def run_out(log: PaperLog, to: str, **settings: Any) -> Export:
    """Export all that is published."""
    wanted = AuditExport(to=to, **settings)
    cursor = Cursor(log.data_dir / "audit", ORIGIN, to)
    export = Export(log.folder, ORIGIN, cursor, destination_of(wanted), calls=wanted.calls)
    while export.step():
        pass
    export.close()
    return export


class Unreliable:
    """A destination that fails when told to, sometimes after it has taken the batch."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.fails: list[str] = []

    def deliver(self, events: Sequence[dict[str, Any]]) -> None:
        failure = self.fails.pop(0) if self.fails else ""
        if failure != "before":
            self.taken += events
        if failure:
            raise DeliveryFailed(failure)

    def close(self) -> None:
        return


def test_events_arrive_in_order_and_go_on_where_they_stopped(log: PaperLog, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    run_out(log, f"file:{file}")
    assert numbers(lines(file)) == list(range(600))
    log.grow(7)
    run_out(log, f"file:{file}")
    assert numbers(lines(file)) == list(range(607))
    assert file.stat().st_mode & 0o777 == 0o600


def test_calls_may_be_left_out(log: PaperLog, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    export = run_out(log, f"file:{file}", calls=False)
    assert numbers(lines(file)) == [number for number in range(600) if number % 3]
    assert export.state.next == 600


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_kill_between_delivery_and_cursor_loses_nothing(log: PaperLog, tmp_path: Path, after: int) -> None:
    file = tmp_path / "events.jsonl"
    program = Path(__file__).with_name("killed_export.py")
    command = [sys.executable, str(program), str(log.data_dir), str(file), str(after)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    delivered = len(lines(file))
    assert delivered == min(600, (after + 1) * TILE_WIDTH)
    cursor = Cursor(log.data_dir / "audit", ORIGIN, "x")
    export = Export(log.folder, ORIGIN, cursor, EventFile(file))
    while export.step():
        pass
    found = numbers(lines(file))
    again = after * TILE_WIDTH
    assert found == [*range(delivered), *range(again, 600)]  # the last batch twice, in order
    assert len({event["metadata"]["uid"] for event in lines(file)}) == 600


def test_a_line_that_a_crash_cut_off_does_not_spoil_the_next(log: PaperLog, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"cut off": ')
    run_out(log, f"file:{file}")
    text = file.read_text().splitlines()
    assert len([line for line in text[1:] if json.loads(line)]) == 600


def test_what_is_not_taken_is_sent_again_before_anything_else(log: PaperLog) -> None:
    destination = Unreliable()
    destination.fails = ["before", "after", "", "before"]
    cursor = Cursor(log.data_dir / "audit", ORIGIN, "y")
    export = Export(log.folder, ORIGIN, cursor, destination)
    for _ in range(10):
        try:
            while export.step():
                pass
        except DeliveryFailed:
            assert cursor.read() == export.state.next
            assert export.waiting == 600 - export.state.next
    first = numbers(destination.taken)
    assert first[:512] == [*range(256), *range(256)]
    assert first[512:] == list(range(256, 600))


def test_the_thread_outlives_what_nobody_foresaw_and_leaves_nothing_out(
    log: PaperLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.audit.export.LOOK_S", 0.01)
    monkeypatch.setattr("regalia.audit.export.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("regalia.audit.export.LONGEST_PAUSE_S", 0.02)
    failing, stop, told = threading.Event(), threading.Event(), threading.Event()
    failing.set()

    class Surprising(Unreliable):
        """A destination that fails as nobody has foreseen."""

        def deliver(self, events: Sequence[dict[str, Any]]) -> None:
            if failing.is_set() and len(self.taken) >= TILE_WIDTH:
                if export.state.attempts >= 2:
                    told.set()
                raise ZeroDivisionError("a surprise")
            super().deliver(events)

    destination = Surprising()
    cursor = Cursor(log.data_dir / "audit", ORIGIN, "z")
    export = Export(log.folder, ORIGIN, cursor, destination)
    with capture_logs() as logs:
        thread = threading.Thread(target=export.run, args=[stop])
        thread.start()
        try:
            assert told.wait(200)
            assert cursor.read() == TILE_WIDTH  # what was delivered, and not a record more
            assert export.told == f"failing: {600 - TILE_WIDTH} records wait, the first is {TILE_WIDTH}"
            failing.clear()
            deadline = time.monotonic() + 200
            while (export.waiting or export.state.failure) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            stop.set()
            thread.join(60)
    assert numbers(destination.taken) == list(range(600))
    assert (export.told, export.state.attempts) == ("ok", 0)
    (line,) = [line for line in logs if line["event"] == "audit events are not delivered"]
    assert line["reason"] == "ZeroDivisionError: a surprise"
    assert isinstance(line["exc_info"], ZeroDivisionError)


def test_the_cursor_is_of_one_log_and_one_destination(tmp_path: Path) -> None:
    Cursor(tmp_path, "log.example", "file:/a").write(7)
    assert Cursor(tmp_path, "log.example", "file:/a").read() == 7
    assert Cursor(tmp_path, "log.example", "file:/b").read() == 0
    assert Cursor(tmp_path, "another.example", "file:/a").read() == 0
    (tmp_path / "cursor.json").write_text("{")
    with pytest.raises(CursorDamaged, match="remove it"):
        Cursor(tmp_path, "log.example", "file:/a").read()


async def test_nothing_is_exported_unless_it_is_configured(log: PaperLog) -> None:
    async with exporting(AuditExport(), log.data_dir, ORIGIN) as export:
        assert export is None
    assert not (log.data_dir / "audit").exists()
    assert published_size(log.data_dir / "nowhere") == 0


class Collector:
    """An HTTP endpoint that answers what it is told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.tokens: set[str | None] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = collector.statuses.pop(0) if collector.statuses else 204
                collector.tokens.add(self.headers["authorization"])
                if status < 300:
                    collector.bodies.append(body)
                self.send_response(status)
                self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/events?x=1"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_http_endpoint_has_taken_what_it_answered_2xx_to(log: PaperLog, collector: Collector) -> None:
    collector.statuses = [503, 302, 200, 429]
    for _ in range(3):
        with pytest.raises(DeliveryFailed, match=r"answered (503|302|429)"):
            run_out(log, collector.url, bearer_token="a token")
    run_out(log, collector.url, bearer_token="a token")
    found = [json.loads(line) for body in collector.bodies for line in body.splitlines()]
    assert numbers(found) == list(range(600))
    assert collector.tokens == {"Bearer a token"}


def test_syslog_over_tcp_is_framed(log: PaperLog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        received = bytearray()

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                while chunk := connection.recv(65536):
                    received.extend(chunk)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        run_out(log, f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}")
        thread.join(200)
    found = []
    while received:
        length, _, rest = bytes(received).partition(b" ")
        text, received = rest[: int(length)], bytearray(rest[int(length) :])
        found.append(json.loads(text.partition(b"\xef\xbb\xbf")[2]))
    assert numbers(found) == list(range(600))


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_syslog_in_datagrams(tmp_path: Path, kind: str) -> None:
    log = PaperLog(tmp_path / "d").grow(5)
    family = socket.AF_INET if kind == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0) if kind == "udp" else str(tmp_path / "log.sock"))
        server.settimeout(120)
        where = f"//127.0.0.1:{server.getsockname()[1]}" if kind == "udp" else f"{tmp_path}/log.sock"
        run_out(log, f"syslog+{kind}:{where}")
        found = [json.loads(server.recv(65536).partition(b"\xef\xbb\xbf")[2]) for _ in range(5)]
    assert numbers(found) == list(range(5))


def test_a_receiver_that_is_not_there_holds_nothing_up(log: PaperLog, tmp_path: Path) -> None:
    for to in (f"syslog+unix:{tmp_path}/none", "http://127.0.0.1:1/", f"file:{tmp_path}/no/folder/file"):
        with pytest.raises(DeliveryFailed):
            run_out(log, to)
    assert Cursor(log.data_dir / "audit", ORIGIN, "http://127.0.0.1:1/").read() == 0
