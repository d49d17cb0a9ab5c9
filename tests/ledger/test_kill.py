"""kill -9 under load, at random moments: no acknowledged record is lost, and the log goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from ledger_kit import Site
from regalia_verify.source import Folder, TiledLog

ROUNDS = 4
TESTS = Path(__file__).parent


def run_and_kill(site: Site, whom: str, after: float) -> dict[int, str]:
    """The acknowledged records (index -> SHA-256) of a gateway killed some time after its first one."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, str(TESTS / "gateway_stand_in.py"), str(site.data_dir)]
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert gateway.stdout is not None
    first = gateway.stdout.readline()
    time.sleep(after)
    if whom == "both":
        os.kill(int((site.data_dir / "run" / "lock").read_text()), signal.SIGKILL)
    gateway.kill()
    lines = [first, *gateway.stdout.read().splitlines(keepends=True)]
    gateway.wait()
    gateway.stdout.close()
    complete = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return {int(index): digest for index, digest in complete}


@pytest.mark.parametrize("whom", ["gateway", "both"])
def test_no_acknowledged_record_is_lost(site: Site, whom: str) -> None:
    acknowledged: dict[int, str] = {}
    moments = random.Random(whom)
    for _ in range(ROUNDS):
        round_ = run_and_kill(site, whom, moments.uniform(0, 0.6))
        assert round_
        assert not acknowledged.keys() & round_.keys()
        acknowledged |= round_
        with site.log("after") as log:
            log.publish()
            assert log.publish_failure is None
        site.verify(closed=True)
    size = site.verify().endorsement.checkpoint.size
    folder = TiledLog(Folder(site.folder), size)
    entries = [entry for n in range(-(-size // 256)) for entry in folder.bundle(n)]
    assert {index: sha256(entries[index]).hexdigest() for index in acknowledged} == acknowledged
