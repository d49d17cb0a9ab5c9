"""Two servers beside each other: short rounds take turns, and the ratio is taken inside each round."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import rivals
from bench.load import Figures, Target, load
from bench.report import table

Serving = Callable[[Path, str, int], AbstractContextManager[Target]]
"""Given a folder, the server's name and the upstream's port, a server that runs within the block."""
Loading = Callable[[Target, int, int], Figures]
"""Loads a target over so many connections for so many seconds."""


@dataclass(frozen=True)
class Pair:
    """What was measured of both, by their names: a run for each round."""

    connections: int
    measured: dict[str, list[Figures]]

    @property
    def ratios(self) -> list[float]:
        """The second one's calls a second over the first one's, in each round."""
        first, second = self.measured.values()
        return [two.per_second / one.per_second for one, two in zip(first, second, strict=True)]

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return median(self.ratios)

    @property
    def per_second(self) -> tuple[float, float]:
        """Calls a second of either, the median over the rounds."""
        first, second = (median(run.per_second for run in runs) for runs in self.measured.values())
        return first, second

    @property
    def table(self) -> str:
        """Medians over the rounds."""
        rows = [
            (
                name,
                f"{median(one.per_second for one in runs):,.0f}",
                f"{median(one.p50 for one in runs) / 1000:.1f} ms",
                f"{median(one.p99 for one in runs) / 1000:.1f} ms",
            )
            for name, runs in self.measured.items()
        ]
        return table((f"{self.connections} connections", "calls/s", "p50", "p99"), rows)


def upstream_config(port: int) -> dict[str, object]:
    """The configuration of a server whose only engine is the upstream at that port."""
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{port}/v1", "models": ["fake"]}
    return {"embedded": False, "engines": [engine], "log_level": "warning"}


def together(pairs: Iterable[Pair]) -> Pair:
    """Several pairs at one number of connections as one: the median over all their rounds counts."""
    first, *others = pairs
    measured = {name: list(runs) for name, runs in first.measured.items()}
    for pair in others:
        for name, runs in pair.measured.items():
            measured[name] += runs
    return Pair(first.connections, measured)


@contextmanager
def both(
    serving: Serving, names: tuple[str, str], afterwards: Callable[[Path], None] = lambda folder: None
) -> Iterator[list[Target]]:
    """Serve both within the block. `afterwards` gets the folder once neither serves any more."""
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="pair-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = stack.enter_context(rivals.upstream(folder))
        with ExitStack() as servers:
            yield [servers.enter_context(serving(folder, name, port)) for name in names]
        afterwards(folder)


def in_turn(
    targets: list[Target], *, connections: int, rounds: int, seconds: int, loading: Loading = load
) -> Pair:
    """Load both in turn."""
    measured: dict[str, list[Figures]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 else reversed(targets):
            measured[target.name].append(loading(target, connections, seconds))
    return Pair(connections, measured)


def measure(
    serving: Serving,
    names: tuple[str, str],
    *,
    connections: int,
    rounds: int,
    seconds: int = 3,
    warm_up_seconds: int = 3,
    afterwards: Callable[[Path], None] = lambda folder: None,
) -> Pair:
    """One pair, served, warmed and loaded in turn; `afterwards` as `both` has it."""
    with both(serving, names, afterwards) as targets:
        for target in targets:
            load(target, connections, warm_up_seconds)
        return in_turn(targets, connections=connections, rounds=rounds, seconds=seconds)
