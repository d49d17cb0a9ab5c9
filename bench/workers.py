"""Two gateway processes on PostgreSQL beside one, and beside one on SQLite, with all recording on.

Three servers and one upstream on one machine; short rounds take turns, and the ratio is taken inside each
round. wrk, the upstream, PostgreSQL and each gateway's ledger process share the cores, so this is what is
left for a second gateway process. Run as `PYTHONPATH=tests python -m bench.workers`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import rivals
from bench.load import Figures, Target, load
from bench.report import Ratio, ratios, table

from postgresql_kit import running_cluster
from serving import Server, regalia

CONNECTIONS = 64
ROUNDS = 5
SECONDS = 3
BOUND = 1.4
ONE, TWO, SQLITE = "one process, PostgreSQL", "two processes, PostgreSQL", "one process, SQLite"


@contextmanager
def serving(folder: Path, name: str, database: str, workers: int, upstream_port: int) -> Iterator[Target]:
    """A server on a database of its own."""
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "models": ["fake"]}
    config = {"embedded": False, "engines": [engine], "log_level": "warning", "workers": workers}
    server = Server(
        folder / f"data-{len(list(folder.iterdir()))}", config, env={"REGALIA_DATABASE": database}
    )
    made = regalia("init", "--data-dir", str(server.data_dir), "--database", database, "--json").stdout
    server.api_key = made.split('"api_key": "')[1].split('"')[0]
    try:
        server.start()
        yield Target(name, f"{server.url}/v1/chat/completions", {"Authorization": f"Bearer {server.api_key}"})
    finally:
        server.stop()


def postgres() -> Path:
    """The newest PostgreSQL server here."""
    found = shutil.which("postgres") or sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1]
    return Path(found)


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of two processes to one."""
    measured: dict[str, list[Figures]] = {ONE: [], TWO: [], SQLITE: []}
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regalia-bench-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = stack.enter_context(running_cluster(postgres()))
        port = stack.enter_context(rivals.upstream(folder))
        targets = [
            stack.enter_context(serving(folder, ONE, cluster.fresh(), 1, port)),
            stack.enter_context(serving(folder, TWO, cluster.fresh(), 2, port)),
            stack.enter_context(serving(folder, SQLITE, "sqlite", 1, port)),
        ]
        for target in targets:
            load(target, CONNECTIONS, 2)
        for _ in range(ROUNDS):
            for target in targets:
                measured[target.name].append(load(target, CONNECTIONS, SECONDS))
    gain = median(
        two.per_second / one.per_second for one, two in zip(measured[ONE], measured[TWO], strict=True)
    )
    held = [Ratio("two processes / one, calls per second", gain, BOUND)]
    rows = [
        (
            name,
            f"{median(run.per_second for run in runs):,.0f}",
            f"{median(run.p50 for run in runs) / 1000:.1f} ms",
            f"{median(run.p99 for run in runs) / 1000:.1f} ms",
        )
        for name, runs in measured.items()
    ]
    head = (f"{CONNECTIONS} connections, {os.cpu_count()} cores", "calls/s", "p50", "p99")
    return f"{table(head, rows)}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
