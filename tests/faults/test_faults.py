"""A sample of the fault campaign (`make faults`): one system call fails or kills, and every promise holds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.campaign import ROLES, spread, table
from faults.injection import KILL, Fault, Role
from faults.trial import Bench

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
