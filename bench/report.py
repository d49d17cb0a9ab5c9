"""How results are told: tables and ratios, each ratio beside the bound it is held to; and the machine."""

import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ratio:
    """One measured ratio and its bound: at least `bound`, or at most it when `at_most`."""

    name: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the measurement keeps the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def row(self) -> tuple[str, str, str, str]:
        """The ratio as a row of a table."""
        demand = f"{'≤' if self.at_most else '≥'} {self.bound:g}"
        return self.name, f"{self.value:.2f}", demand, "holds" if self.holds else "**missed**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned so that a terminal shows it well too."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def ratios(found: Iterable[Ratio]) -> str:
    """The table of ratios."""
    return table(("ratio", "measured", "bound", ""), [ratio.row() for ratio in found])


def machine() -> str:
    """One sentence on the machine: processor, cores, memory, kernel and Python; no names, no paths."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = " ".join(model.group(1).split()) if model else platform.machine()
    python = ".".join(str(part) for part in sys.version_info[:3])
    return (
        f"{len(os.sched_getaffinity(0))} cores of {processor}, {gigabytes:.0f} GiB of memory, "
        f"Linux {platform.release().split('-')[0]}, Python {python}."
    )


def write_between_marks(page: Path, text: str, what: str = "figures") -> None:
    """Replace what stands between the page's two marks with `text`."""
    first, last = f"<!-- {what}: begin -->", f"<!-- {what}: end -->"
    before, begin, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the marks {first} and {last}")
    page.write_text(f"{before}{first}\n{text.strip()}\n{last}{after}")
