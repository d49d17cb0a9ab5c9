"""`make faults`: the campaign, its table, and every trial that was not safe; ends with 1 if there is one.

REGALIA_FAULTS sets how many of each kind are tried (40), or `all`. The folders of unsafe trials are kept.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from faults.campaign import faults, table
from faults.trial import Bench

MOST = 40


def main() -> int:
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("the campaign needs strace: sudo apt-get install strace")
    wanted = os.environ.get("REGALIA_FAULTS", str(MOST))
    folder = Path(tempfile.mkdtemp(prefix="regalia-faults-"))
    bench = Bench(Path(strace), folder)
    began = time.monotonic()
    trials = []
    planned = faults(bench, sys.maxsize if wanted == "all" else int(wanted))
    for number, fault in enumerate(planned, 1):
        trial = bench.trial(fault)
        trials.append(trial)
        print(f"{number}/{len(planned)} {fault}: {trial.outcome}", file=sys.stderr, flush=True)
        for problem in trial.unsafe:
            print(f"    UNSAFE: {problem}", file=sys.stderr, flush=True)
    print(table(trials))
    unsafe = sum(bool(trial.unsafe) for trial in trials)
    print(f"\n{len(trials)} faults in {time.monotonic() - began:.0f} s, {unsafe} of them unsafe")
    if not unsafe:
        shutil.rmtree(folder)
        return 0
    print(f"what the unsafe ones left is in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
