"""How fast `regalia-verify log` reads a log, beside the bare minimum: hash and parse the same entries."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from bench.report import Ratio, ratios, table
from bench.rivals import INSTALLED

from regalia_verify.log import verify_log
from regalia_verify.source import open_source, parse_bundle
from verify.paper_log import sample_log

CALLS = 30_000
ROUNDS = 3
WANTED = 30_000  # records a second


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _bare(folder: Path) -> None:
    """What nobody can leave out: read every entry, hash it, parse it."""
    for bundle in sorted((folder / "tile" / "entries").rglob("*")):
        if bundle.is_file():
            for entry in parse_bundle(bundle.read_bytes()):
                hashlib.sha256(entry).digest()
                json.loads(entry)


def run() -> tuple[str, list[Ratio]]:
    """Make a log, and verify it from its folder."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix="log-", dir=INSTALLED))
    try:
        log = sample_log(CALLS)
        log.publish().write(folder)
        policy = log.policy()
        records = len(log.entries)
        whole, bare = [], []
        for _ in range(ROUNDS):
            whole.append(records / _timed(lambda: verify_log(open_source(str(folder)), policy)))
            bare.append(records / _timed(lambda: _bare(folder)))
    finally:
        shutil.rmtree(folder)
    rows = [
        (f"a log of {records:,} records, every check", f"{median(whole):,.0f}"),
        ("the same entries, only hashed and parsed", f"{median(bare):,.0f}"),
    ]
    held = [Ratio(f"regalia-verify log over {WANTED:,} records/s", median(whole) / WANTED, 1)]
    return f"{table(('', 'records/s'), rows)}\n\n{ratios(held)}", held
