"""`make faults`: the campaign, its table, and every trial that was not safe; ends with 1 if there is one.

REGALIA_FAULTS sets how many of each kind are tried, spread evenly from the first to the last (10, which takes
about 20 minutes), or `all`, which takes hours. The folders of unsafe trials are kept.
"""

import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from conftest import find
from faults.campaign import faults, table
from faults.injection import Fault
from faults.trial import Bench
from postgresql_kit import running_cluster

MOST = 10
ON_POSTGRESQL = ("connect", "sendto", "fsync", "rename", "pwrite64", "fdatasync", "openat", "unlink")
"""Connections, and the files of a vault that hosts share; tiles are written as with SQLite."""


def main() -> int:
    strace, postgres = find("strace"), find("postgres")
    if strace is None:
        raise SystemExit("the campaign needs strace: sudo apt-get install strace")
    wanted = os.environ.get("REGALIA_FAULTS", str(MOST))
    most = sys.maxsize if wanted == "all" else int(wanted)
    folder = Path(tempfile.mkdtemp(prefix="regalia-faults-"))
    with ExitStack() as stack:
        sqlite = Bench(strace, folder / "sqlite")
        unsafe = campaign("SQLite", sqlite, faults(sqlite, most))
        if postgres is None:
            print("PostgreSQL is not installed, so `connect` was not tried: sudo apt-get install postgresql")
        else:
            cluster = stack.enter_context(running_cluster(postgres))
            shared = Bench(strace, folder / "postgresql", cluster.fresh)
            unsafe += campaign("PostgreSQL", shared, faults(shared, most, ON_POSTGRESQL))
    if not unsafe:
        shutil.rmtree(folder)
        return 0
    print(f"what the unsafe ones left is in {folder}")
    return 1


def campaign(title: str, bench: Bench, planned: list[Fault]) -> int:
    """Try the faults, print their table; how many were unsafe."""
    began = time.monotonic()
    trials = []
    for number, fault in enumerate(planned, 1):
        trial = bench.trial(fault)
        trials.append(trial)
        print(f"{title} {number}/{len(planned)} {fault}: {trial.outcome}", file=sys.stderr, flush=True)
        for problem in trial.unsafe:
            print(f"    UNSAFE: {problem}", file=sys.stderr, flush=True)
    unsafe = sum(bool(trial.unsafe) for trial in trials)
    lasted = time.monotonic() - began
    print(f"## {title}\n\n{table(trials)}\n\n{len(trials)} faults in {lasted:.0f} s, {unsafe} unsafe\n")
    return unsafe


if __name__ == "__main__":
    sys.exit(main())
