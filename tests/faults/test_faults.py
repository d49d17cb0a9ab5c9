"""A sample of the fault campaign (`make faults`): one system call fails or kills, and every promise holds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.campaign import ROLES, spread, table
from faults.injection import KILL, Fault, Role
from faults.trial import Bench, Told, broken
from ledger_kit import Call, Site

SAMPLE: tuple[tuple[Role, str, str], ...] = (
    ("commits", "pwrite64", "EIO"),
    ("commits", "pwrite64", KILL),
    ("commits", "fdatasync", "EIO"),
    ("commits", "fdatasync", KILL),
    ("commits", "openat", "EACCES"),
    ("commits", "openat", KILL),
    ("publishes", "write", "ENOSPC"),
    ("publishes", "fsync", "EIO"),
    ("publishes", "fsync", KILL),
    ("publishes", "rename", "EIO"),
    ("publishes", "rename", KILL),
    ("publishes", "openat", "EMFILE"),
)


@pytest.mark.needs("strace")
@pytest.mark.timeout(900)
def test_no_fault_of_a_sample_is_unsafe(needs: Callable[[str], Path], tmp_path: Path) -> None:
    bench = Bench(needs("strace"), tmp_path)
    counts = {role: bench.count(role) for role in ROLES}
    planned = [
        Fault(role, syscall, how, n)
        for role, syscall, how in SAMPLE
        for n in spread(counts[role][syscall], 2)
    ]
    trials = [bench.trial(fault) for fault in planned]
    print(table(trials))
    assert [(str(trial.fault), trial.unsafe) for trial in trials if trial.unsafe] == []
    assert sum(trial.hits > 0 for trial in trials) >= len(SAMPLE)
    assert {trial.outcome for trial in trials} >= {"refused", "replaced"}


def test_the_verdict_sees_what_was_lost(tmp_path: Path) -> None:
    site = Site.make(tmp_path / "d")
    call = Call.new()
    with site.log() as log:
        log.append([call.admission(), call.outcome()])
    sound = Told(answered=[call])
    assert broken(site, sound) == []
    assert broken(site, Told(records={1: "0" * 64, 99: "0" * 64})) == [
        "the acknowledged record 1 is lost",
        "the acknowledged record 99 is lost",
    ]
    assert "ReceiptNotFound" in broken(site, Told(answered=[Call.new()]))[0]
    (site.folder / "tile" / "0" / "000.p" / "3").unlink()
    assert broken(site, Told()) != []
