"""Appends outcomes and folds their usage, as fast as it can, until it is killed. For test_folding.py.

python folding_writer.py DATA_DIR DATABASE_URL PROCESS
"""

import random
import sys
import threading
from pathlib import Path

import msgspec

from ledger_kit import ORIGIN, Call
from regalia.ledger import KeyFiles, Settlement, folding
from regalia.ledger.log import Log
from regalia.ledger.wire import Where


def main(data_dir: Path, url: str, process: str) -> None:
    folding.AGE_S = 0.0
    folding.CHUNK, folding.PLANNED, folding.REMOVED = 2, 6, 6
    log = Log.open(Where(data_dir, url, process, ORIGIN, KeyFiles.under(data_dir / "keys")))

    def fold() -> None:
        while True:
            log.fold_usage()

    threading.Thread(target=fold, daemon=True).start()
    chance = random.Random()
    while True:
        calls = [Call.new() for _ in range(chance.randint(1, 6))]
        log.append([call.admission() for call in calls])
        used = Settlement("2026-11-22", "o", "p", "", "u", "chat.completions", "m", "", "", 3, 0, 3, 0)
        keys = [msgspec.structs.replace(used, key=f"key_{chance.randrange(9)}") for _ in calls]
        log.append(
            [msgspec.structs.replace(c.outcome(), settlement=s) for c, s in zip(calls, keys, strict=True)]
        )
        print("appended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
