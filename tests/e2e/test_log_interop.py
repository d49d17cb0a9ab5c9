"""A live server's published log, checked by Go's sumdb packages, regalia-verify, and its pyz."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import ROOT, FakeEngine, Server, ServerFactory, verify

PYZ = ROOT / "build" / "regalia-verify.pyz"
CALLS = 300  # more than one full tile of entries


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fake_engine: FakeEngine) -> Iterator[Server]:
    """A server whose log has full tiles and a partial one."""
    factory = ServerFactory(tmp_path_factory.mktemp("live"))
    server = factory(**fake_engine.config).start()
    with server.http() as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(CALLS):
            last = client.post("/v1/chat/completions", json=body).raise_for_status()
    server.receipt(last.headers["x-regalia-call"])  # published up to here
    yield server
    factory.stop_all()


@pytest.fixture(scope="module")
def policy(live: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trust policy as a file."""
    file = tmp_path_factory.mktemp("policy") / "policy"
    file.write_text(live.policy())
    return file


def test_regalia_verify_reads_the_log_from_its_address_and_folder(live: Server, policy: Path) -> None:
    for place in (f"{live.url}/log", str(live.data_dir / "log")):
        done = verify("log", place, "--policy", str(policy), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["verified"] is True
        assert told["kinds"]["call.answered"] == CALLS
        assert told["size"] >= 2 * CALLS + 1


def test_the_single_file_verifies_too(live: Server, policy: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "build_pyz.py"), str(PYZ)], check=True)
    exchange = live.chat()
    request, response, receipt = (tmp_path / name for name in ("request", "response", "receipt"))
    request.write_bytes(exchange.request)
    response.write_bytes(exchange.body)
    receipt.write_text(live.receipt(exchange.call))
    trust = ["--policy", str(policy)]
    content = ["--request", str(request), "--response", str(response)]
    for arguments in (["log", f"{live.url}/log", *trust], ["receipt", str(receipt), *trust, *content]):
        command = [sys.executable, "-I", str(PYZ), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    response.write_bytes(exchange.body + b" ")
    command = [sys.executable, "-I", str(PYZ), "receipt", str(receipt), *trust, *content]
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode == 1


def test_the_single_file_is_built_the_same_each_time(tmp_path: Path) -> None:
    built = [tmp_path / "a.pyz", tmp_path / "b.pyz"]
    for file in built:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "build_pyz.py"), str(file)], check=True)
    assert built[0].read_bytes() == built[1].read_bytes()


def test_gos_sumdb_packages_agree(live: Server, policy: Path, go_verify: Path, tmp_path: Path) -> None:
    receipts: list[Path] = []
    for number in range(3):
        receipts.append(tmp_path / f"receipt-{number}")
        receipts[-1].write_text(live.receipt(live.chat().call))
    (key,) = [line.split()[1] for line in policy.read_text().splitlines() if line.startswith("log ")]
    command: list[str | Path] = [go_verify, live.data_dir / "log", key, *receipts]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    entries, checked = done.stdout.splitlines()
    assert int(entries.removeprefix("entries ")) >= 2 * CALLS + 1
    assert checked == f"receipts {len(receipts)}"


def test_go_refuses_another_logs_key(live: Server, go_verify: Path, new_server: ServerFactory) -> None:
    (other,) = [line.split()[1] for line in new_server().policy().splitlines() if line.startswith("log ")]
    done = subprocess.run([go_verify, live.data_dir / "log", other], capture_output=True, check=False)
    assert done.returncode == 1
