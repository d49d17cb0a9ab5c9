"""`make bench`: every benchmark, its table and ratios; `--write` puts them into docs/performance.md.

    python -m bench [gateway] [engine] [ledger] [--write]

Ends with 1 when a ratio misses its bound.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from bench.report import machine, write_between_marks

PARTS = {
    "gateway": "The gateway, with a fake upstream",
    "engine": "The embedded engine",
    "ledger": "The ledger and the verifier",
}
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def main() -> int:
    """Run the parts asked for, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help=f"put the figures into docs/{PAGE.name}")
    chosen = parser.parse_args()
    sections, missed = [f"Machine: {machine()}"], []
    print(sections[0])
    for part in chosen.parts or PARTS:
        print(f"\n==> {PARTS[part]}", flush=True)
        text, held = import_module(f"bench.{part}").run()
        print(f"\n{text}", flush=True)
        sections.append(f"### {PARTS[part]}\n\n{text}")
        missed += [ratio for ratio in held if not ratio.holds]
    if chosen.write:
        write_between_marks(PAGE, "\n\n".join(sections))
    for ratio in missed:
        print(f"missed: {ratio.name}: {ratio.value:.2f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
