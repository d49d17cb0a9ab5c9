"""Two gateway processes on PostgreSQL beside one, and beside one on SQLite, with all recording on.

Three servers and one upstream on one machine; short rounds take turns, and the ratio is taken inside each
round. wrk, the upstream, PostgreSQL and each gateway's ledger process share the cores, so this is what is
left for a second gateway process; the second table says who spent what. Run as
`PYTHONPATH=tests python -m bench.workers`.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import rivals
from bench.cpu import IDLE, KINDS, Meter, spent
from bench.load import Figures, Target, load
from bench.report import Ratio, ratios, table
from bench.row_lock import FREE, HELD, WAITS, RowLock

from postgresql_kit import Cluster, running_cluster
from serving import Server, children, regalia

CONNECTIONS = 64
ROUNDS = 5
SECONDS = 3
WARM_UP_SECONDS = 2
BOUND = 1.4
ONE, TWO, SQLITE = "one process, PostgreSQL", "two processes, PostgreSQL", "one process, SQLite"


@dataclass
class Contender:
    """A server, and what was measured of it: figures, CPU seconds by kind, and wall seconds."""

    target: Target
    meter: Meter
    row: RowLock | None = None
    figures: list[Figures] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*KINDS, IDLE), 0.0))
    calls: float = 0.0
    wall: float = 0.0

    def round(self) -> None:
        """Take one."""
        before, began = self.meter.read(), time.monotonic()
        with self.row or nullcontext():
            figures = load(self.target, CONNECTIONS, SECONDS)
        self.wall += time.monotonic() - began
        for kind, seconds in spent(before, self.meter.read()).items():
            self.cpu[kind] += seconds
        self.figures.append(figures)
        self.calls += figures.per_second * SECONDS

    @property
    def busy(self) -> float:
        """How many cores its calls kept busy, on average."""
        return sum(self.cpu[kind] for kind in KINDS) / self.wall

    @property
    def idle(self) -> float:
        """How many cores nobody used."""
        return self.cpu[IDLE] / self.wall

    @property
    def cost(self) -> float:
        """CPU seconds of a call, of all processes together."""
        return sum(self.cpu[kind] for kind in KINDS) / self.calls


@contextmanager
def serving(
    folder: Path, name: str, workers: int, upstream: tuple[int, int], cluster: Cluster | None
) -> Iterator[Contender]:
    """A server on a database of its own."""
    process, port = upstream
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{port}/v1", "models": ["fake"]}
    config = {"embedded": False, "engines": [engine], "log_level": "warning", "workers": workers}
    url = cluster.fresh() if cluster else "sqlite"
    server = Server(folder / f"data-{len(list(folder.iterdir()))}", config, env={"REGALIA_DATABASE": url})
    made = regalia("init", "--data-dir", str(server.data_dir), "--database", url, "--json").stdout
    server.api_key = made.split('"api_key": "')[1].split('"')[0]
    try:
        server.start()
        assert server.process is not None
        database = url.partition("?")[0].rpartition("/")[2] if cluster else None
        target = Target(
            name, f"{server.url}/v1/chat/completions", {"Authorization": f"Bearer {server.api_key}"}
        )
        meter = Meter(server.process.pid, process, database, cluster.folder if cluster else None)
        row = RowLock(url) if cluster else None
        yield Contender(target, meter, row)
        if row is not None:
            row.close()
    finally:
        server.stop()


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[int, int]]:
    """The upstream's process and port."""
    before = set(children(os.getpid()))
    with rivals.upstream(folder) as port:
        started = [pid for pid in children(os.getpid()) if pid not in before]
        yield started[0], port


def postgres() -> Path:
    """The newest PostgreSQL server here."""
    found = shutil.which("postgres") or sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1]
    return Path(found)


def measure(rounds: int = ROUNDS) -> list[Contender]:
    """Start everything, warm it, and take the rounds in turn."""
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regalia-bench-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = stack.enter_context(running_cluster(postgres()))
        source = stack.enter_context(upstream(folder))
        contenders = [
            stack.enter_context(serving(folder, ONE, 1, source, cluster)),
            stack.enter_context(serving(folder, TWO, 2, source, cluster)),
            stack.enter_context(serving(folder, SQLITE, 1, source, None)),
        ]
        for contender in contenders:
            load(contender.target, CONNECTIONS, WARM_UP_SECONDS)
        for _ in range(rounds):
            for contender in contenders:
                contender.round()
        return contenders


def tell(contenders: Sequence[Contender]) -> tuple[str, list[Ratio]]:
    """Throughput, the ratio, and where the CPU's time went for each call."""
    cores = len(os.sched_getaffinity(0))
    one, two = contenders[:2]
    gain = median(b.per_second / a.per_second for a, b in zip(one.figures, two.figures, strict=True))
    held = [Ratio("two processes / one, calls per second", gain, BOUND)]
    speeds = [
        (
            each.target.name,
            f"{median(run.per_second for run in each.figures):,.0f}",
            f"{median(run.p50 for run in each.figures) / 1000:.1f} ms",
            f"{median(run.p99 for run in each.figures) / 1000:.1f} ms",
        )
        for each in contenders
    ]
    costs = [
        (
            each.target.name,
            *(f"{each.cpu[kind] / each.calls * 1e6:,.0f}" for kind in KINDS),
            f"{each.cost * 1e6:,.0f}",
            f"{each.busy:.2f}",
            f"{each.idle:.2f}",
            f"{max(0.0, cores - each.busy - each.idle):.2f}",
        )
        for each in contenders
    ]
    head = (f"{CONNECTIONS} connections, {cores} cores", "calls/s", "p50", "p99")
    rows = [
        (each.target.name, *(f"{each.row.share(what):.0%}" for what in (*HELD, FREE, WAITS)))
        for each in contenders
        if each.row is not None
    ]
    explained = (
        f"With one process {one.busy:.2f} of {cores} cores work for its calls and {one.idle:.2f} are idle. "
        f"More processes can use what is idle and no more: if a call cost them no more than one, a factor of "
        f"{1 + one.idle / one.busy:.2f}. With two, a call costs {two.cost / one.cost:.2f} times as much."
    )
    spending = table(("CPU µs a call", *KINDS, "all", "cores", "idle", "others"), costs)
    turns = table(("the log's row, of the time", *HELD, FREE, WAITS), rows)
    return f"{table(head, speeds)}\n\n{ratios(held)}\n\n{spending}\n\n{turns}\n\n{explained}", held


def run() -> tuple[str, list[Ratio]]:
    """Measure and tell."""
    return tell(measure())


if __name__ == "__main__":
    print(run()[0])
