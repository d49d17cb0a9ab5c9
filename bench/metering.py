"""What prices, budgets and limits cost: the gateway with all of them on beside itself with none.

Two servers and one upstream on one machine; short rounds take turns, and the ratio is taken inside each
round. Run as `PYTHONPATH=tests python -m bench.metering`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from bench.load import Target
from bench.paired import measure, upstream_config
from bench.report import Ratio, ratios

from serving import Server

CONNECTIONS = 64
ROUNDS = 7
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
def serving(folder: Path, name: str, upstream_port: int) -> Iterator[Target]:
    """A server, with everything set or with nothing."""
    server = Server(folder / ("on" if name == WITH else "off"), upstream_config(upstream_port)).init()
    try:
        server.start()
        for path, body in SETTINGS if name == WITH else ():
            url = f"{server.url}/v1/regalia{path}"
            httpx.post(url, content=json.dumps(body), headers=server.headers).raise_for_status()
        url = f"{server.url}/v1/chat/completions"
        yield Target(name, url, {"Authorization": f"Bearer {server.api_key}"})
    finally:
        server.stop()


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of the throughput with everything on to that without."""
    pair = measure(serving, (WITHOUT, WITH), connections=CONNECTIONS, rounds=ROUNDS)
    held = [Ratio(f"calls/s, metering on over off, {CONNECTIONS} connections", pair.ratio, BOUND)]
    return f"{pair.table}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
