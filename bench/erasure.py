"""Erasing a project of 100,000 calls beside one of 1,000, through the ledger, on record.

A project's contents go by destroying its keys, so the time must not depend on their number. Run as
`PYTHONPATH=tests python -m bench.erasure`.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import rivals
from bench.report import Ratio, ratios, table

from ledger_kit import Call, Site
from regalia.clock import now_ms
from regalia.ledger.erasing import Erasure
from regalia.ledger.log import Log

SMALL, LARGE = 1_000, 100_000
ROUNDS = 5
BATCH = 500
CONTENT_BYTES = 200


def fill(log: Log, project: str, count: int) -> None:
    """Answered calls, sealed and committed as the server does it."""
    for start in range(0, count, BATCH):
        calls = [Call.new(project, CONTENT_BYTES) for _ in range(min(BATCH, count - start))]
        log.append([entry for call in calls for entry in (call.admission(), call.outcome())])


def erase(log: Log, project: str) -> float:
    """The seconds that it takes until the erasure is on record and the keys are gone."""
    name = f"erasure_{os.urandom(8).hex()}"
    wanted = Erasure(name, "project", project, 0, "benchmark", "0" * 32, now_ms(), ("0" * 32,))
    began = time.perf_counter()
    log.erase(wanted)
    return time.perf_counter() - began


def run() -> tuple[str, list[Ratio]]:
    """The table, and how the larger project compares with the small ones."""
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regalia-bench-", dir=rivals.INSTALLED))
    small = [f"small-{number}" for number in range(ROUNDS)]
    try:
        with Site.make(folder / "d").log() as log:
            for project in small:
                fill(log, project, SMALL)
            fill(log, "large", LARGE)
            few = [erase(log, project) for project in small[:-1]]
            many = erase(log, "large")
            few.append(erase(log, small[-1]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        (f"a project of {SMALL:,} calls", f"{median(few) * 1000:.1f} ms"),
        (f"a project of {LARGE:,} calls", f"{many * 1000:.1f} ms"),
    ]
    held = [
        Ratio(f"erasing {LARGE:,} calls, in seconds", many, 1, at_most=True),
        Ratio(f"erasing {LARGE:,} calls over erasing {SMALL:,}", many / median(few), 5, at_most=True),
    ]
    return f"{table(('erased on record', 'time'), rows)}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
