"""What prices, budgets and limits cost: the gateway with all of them on beside itself with none.

Two servers and one upstream on one machine; short rounds take turns, and the ratio is taken inside each
round. Run as `PYTHONPATH=tests python -m bench.metering`.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx
from bench import rivals
from bench.load import Figures, Target, load
from bench.report import Ratio, ratios, table

from serving import Server

CONNECTIONS = 64
ROUNDS = 7
SECONDS = 3
BOUND = 0.85
WITHOUT, WITH = "no prices, budgets or limits", "prices, three budgets and six limits"
SETTINGS = (
    ("/prices", {"model": "fake", "currency": "EUR", "input": "0.15", "output": "0.60"}),
    ("/budgets", {"scope": "organisation", "subject": "default", "amount": "1000000", "unit": "EUR"}),
    ("/budgets", {"scope": "project", "subject": "default", "amount": "1000000", "unit": "EUR"}),
    ("/budgets", {"scope": "project", "subject": "default", "amount": "900000000000000", "period": "day"}),
    (
        "/limits",
        {"scope": "key", "subject": "*", "requests": 10**9, "tokens": 10**12, "concurrent": 10**6},
    ),
    (
        "/limits",
        {"scope": "project", "subject": "default", "requests": 10**9, "tokens": 10**12, "concurrent": 10**6},
    ),
)


@contextmanager
def serving(folder: Path, name: str, upstream_port: int, *, metered: bool) -> Iterator[Target]:
    """A server, with everything set or with nothing."""
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "models": ["fake"]}
    config = {"embedded": False, "engines": [engine], "log_level": "warning"}
    server = Server(folder / f"data-{'on' if metered else 'off'}", config).init()
    try:
        server.start()
        for path, body in SETTINGS if metered else ():
            url = f"{server.url}/v1/regalia{path}"
            httpx.post(url, content=json.dumps(body), headers=server.headers).raise_for_status()
        url = f"{server.url}/v1/chat/completions"
        yield Target(name, url, {"Authorization": f"Bearer {server.api_key}"})
    finally:
        server.stop()


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of the throughput with everything on to that without."""
    measured: dict[str, list[Figures]] = {WITHOUT: [], WITH: []}
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="metering-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = stack.enter_context(rivals.upstream(folder))
        targets = [
            stack.enter_context(serving(folder, WITHOUT, port, metered=False)),
            stack.enter_context(serving(folder, WITH, port, metered=True)),
        ]
        for target in targets:
            load(target, CONNECTIONS, 3)
        for number in range(ROUNDS):
            for target in targets if number % 2 else reversed(targets):
                measured[target.name].append(load(target, CONNECTIONS, SECONDS))
    pairs = zip(measured[WITH], measured[WITHOUT], strict=True)
    ratio = median(metered.per_second / free.per_second for metered, free in pairs)
    held = [Ratio(f"calls/s, metering on over off, {CONNECTIONS} connections", ratio, BOUND)]
    rows = [
        (
            name,
            f"{median(one.per_second for one in runs):,.0f}",
            f"{median(one.p50 for one in runs) / 1000:.1f} ms",
            f"{median(one.p99 for one in runs) / 1000:.1f} ms",
        )
        for name, runs in measured.items()
    ]
    return f"{table((f'{CONNECTIONS} connections', 'calls/s', 'p50', 'p99'), rows)}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
