"""Two real witnesses and a real server: receipts mature, forks are refused, losing witnesses shows."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from command_line import command
from ports import free_port
from regalia.instance import database_of, identity_of
from regalia.instance.backup import back_up, restore
from regalia.ledger import KeyFiles
from regalia.ledger.fsck import check_log
from regalia_verify.log import verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from regalia_verify.source import Folder, open_source
from serving import PATIENCE_S, REGALIA, FakeEngine, Server, ServerDidNotStart, regalia, verify


@dataclass
class Witness:
    """A witness and its serving process."""

    data_dir: Path
    name: str
    port: int
    lines: list[str]
    process: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        where = ["--data-dir", str(self.data_dir), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [REGALIA, "witness", "serve", *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/", timeout=10)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the witness does not answer")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)
            self.process = None


@dataclass
class Town:
    """A server with a fake engine and two witnesses, all demanded by its trust policy."""

    server: Server
    witnesses: list[Witness]
    policy: Path


def _witness(folder: Path, log_policy: Path, number: int) -> Witness:
    data_dir, port = folder / f"w{number}", free_port()
    where = ("--data-dir", str(data_dir))
    made = command("witness", "init", *where, "--name", f"w{number}.test", "--json").json
    added = command("witness", "add-log", str(log_policy), *where)
    assert added.code == 0, added.err
    line = f"witness w{number} {made['vkeys'][0]} http://127.0.0.1:{port}"
    return Witness(data_dir, f"w{number}", port, [line])


@pytest.fixture
def town(tmp_path: Path, fake_engine: FakeEngine) -> Iterator[Town]:
    policy = tmp_path / "policy.txt"
    log = {"trust_policy": str(policy), "witness_seconds": 0.5}
    server = Server(tmp_path / "d", {**fake_engine.config, "log": log}).init()
    log_policy = tmp_path / "log-policy.txt"
    log_policy.write_text(server.policy())
    witnesses = [_witness(tmp_path, log_policy, number) for number in (1, 2)]
    lines = [line for line in log_policy.read_text().splitlines() if not line.startswith("quorum")]
    for witness in witnesses:
        lines += witness.lines
    policy.write_text("\n".join([*lines, "group all all log-pq w1 w2", "quorum all", ""]))
    for witness in witnesses:
        witness.serve()
    server.start()
    yield Town(server, witnesses, policy)
    server.stop()
    for witness in witnesses:
        witness.stop()


def _ask(town: Town, tmp_path: Path) -> tuple[str, list[str]]:
    exchange = town.server.chat()
    request, response = tmp_path / "request", tmp_path / "response"
    request.write_bytes(exchange.request)
    response.write_bytes(exchange.committed)
    return exchange.call, ["--request", str(request), "--response", str(response)]


def _receipt(town: Town, call: str, query: str = "") -> httpx.Response:
    with town.server.http() as client:
        return client.get(f"/v1/receipts/{call}{query}")


def test_a_receipt_matures_until_both_witnesses_have_signed_it(town: Town, tmp_path: Path) -> None:
    call, files = _ask(town, tmp_path)
    receipt = tmp_path / "receipt"
    matured = _receipt(town, call, "?witnessed=true")
    assert matured.status_code == 200, matured.text
    receipt.write_bytes(matured.content)
    done = verify("receipt", str(receipt), "--policy", str(town.policy), *files, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["witnessed"] is True


def test_what_is_served_as_the_checkpoint_is_what_the_witnesses_signed(town: Town, tmp_path: Path) -> None:
    call, _ = _ask(town, tmp_path)
    assert _receipt(town, call, "?witnessed=true").status_code == 200
    done = verify("log", f"{town.server.url}/log", "--policy", str(town.policy), "--json")
    assert done.returncode == 0, done.stdout


def test_losing_a_witness_shows_and_answers_go_on(town: Town, tmp_path: Path) -> None:
    town.witnesses[1].stop()
    call, _ = _ask(town, tmp_path)
    assert _receipt(town, call).status_code == 200, "a receipt is signed at once"
    deadline = time.monotonic() + PATIENCE_S
    with town.server.http() as client:
        while "not cosigned" not in (state := client.get("/readyz").json())["witnesses"]:
            assert time.monotonic() < deadline, state
            time.sleep(0.1)
    assert state["ready"]
    town.witnesses[1].serve()
    assert _receipt(town, call, "?witnessed=true").status_code == 200, (
        "and it matures when the witness is back"
    )


def test_refusing_without_witnesses_is_the_operators_choice(town: Town, tmp_path: Path) -> None:
    town.server.stop()
    town.server.config["log"] |= {"witnesses_lost": "refuse", "witness_limit_seconds": 1}
    town.server.start()
    _ask(town, tmp_path)
    town.witnesses[0].stop()
    deadline = time.monotonic() + PATIENCE_S
    while (exchange := town.server.chat()).status != 503:
        assert time.monotonic() < deadline, "calls are still answered"
        time.sleep(0.1)
    assert exchange.json["error"]["code"] == "audit_unavailable"
    town.witnesses[0].serve()
    deadline = time.monotonic() + PATIENCE_S
    while (exchange := town.server.chat()).status != 200:
        assert time.monotonic() < deadline, "service does not resume by itself"
        time.sleep(0.1)


def test_a_data_directory_that_was_rolled_back_halts(town: Town, tmp_path: Path) -> None:
    town.server.stop()
    older = tmp_path / "older"
    shutil.copytree(town.server.data_dir, older)
    town.server.start()
    call, _ = _ask(town, tmp_path)
    assert _receipt(town, call, "?witnessed=true").status_code == 200
    town.server.stop()
    shutil.rmtree(town.server.data_dir)
    older.rename(town.server.data_dir)
    with pytest.raises(ServerDidNotStart, match="contradicts what was witnessed"):
        town.server.start()


def test_after_new_keys_the_witnesses_go_on_with_the_new_policy(town: Town, tmp_path: Path) -> None:
    """Restart, witnesses that are told, receipts under the old and new policy, backup, restore, fsck."""
    data_dir = town.server.data_dir
    before, _ = _ask(town, tmp_path)
    assert _receipt(town, before, "?witnessed=true").status_code == 200
    running = regalia("keys", "rotate", "--data-dir", str(data_dir), check=False)
    assert "stop it while the keys change" in running.stderr
    town.server.stop()
    regalia("keys", "rotate", "--data-dir", str(data_dir))
    town.server.start()
    call, _ = _ask(town, tmp_path)
    assert _receipt(town, call).status_code == 200  # not witnessed yet: they don't know the new keys
    with town.server.http() as client:
        renewed = client.get("/log/policy").text
    (tmp_path / "renewed.txt").write_text(renewed)
    for witness in town.witnesses:
        regalia("witness", "add-log", str(tmp_path / "renewed.txt"), "--data-dir", str(witness.data_dir))
    matured = _receipt(town, call, "?witnessed=true")
    assert matured.status_code == 200, matured.text
    earlier = _receipt(town, before)
    back_up(data_dir, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    keys, origin = KeyFiles.under(tmp_path / "restored" / "keys"), identity_of(data_dir).origin
    assert check_log(tmp_path / "restored", database_of(tmp_path / "restored"), origin, keys, "").sound
    for text in (town.policy.read_text(), renewed):
        policy = TrustPolicy.parse(text)
        assert verify_receipt(matured.content, policy).endorsement.witnessed
        assert verify_receipt(earlier.content, policy).endorsement.witnessed
        report = verify_log(open_source(f"{town.server.url}/log"), policy)
        assert report.history.kinds["log.key_rotated"] == 1
    pinned = TrustPolicy.parse((tmp_path / "log-policy.txt").read_text())
    verify_log(Folder(tmp_path / "restored" / "log"), pinned)
