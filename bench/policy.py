"""What a policy costs: the gateway under a country's default rails beside itself without a policy.

Prompts of 500 characters, in which nothing is found. Two servers and one upstream on one machine; short
rounds take turns, and the ratio is taken inside each round. Run as `PYTHONPATH=tests python -m bench.policy`.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx
from bench import rivals
from bench.load import CHAT, Figures, Target, load
from bench.report import Ratio, ratios, table

from regalia.policy import packs
from serving import Server

CONNECTIONS = 16
ROUNDS = 7
SECONDS = 3
BOUND = 0.75
WITHOUT, WITH = "no policy", "the pack `ke`"
TEXT = (
    "The ministry has published the schedule of mobile clinics for the coming month, with the places and the "
    "times at which mothers can bring their children. "
) * 4
BODY = json.dumps({**json.loads(CHAT), "messages": [{"role": "user", "content": TEXT[:500]}]})


@contextmanager
def serving(folder: Path, name: str, upstream_port: int, *, guarded: bool) -> Iterator[Target]:
    """A server, under the pack or under none."""
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "models": ["fake"]}
    config = {"embedded": False, "engines": [engine], "log_level": "warning"}
    server = Server(folder / f"data-{'on' if guarded else 'off'}", config).init()
    try:
        server.start()
        if guarded:
            body = json.dumps({"document": packs.load("ke")[0].decode()})
            url = f"{server.url}/v1/regalia/policies"
            httpx.post(url, content=body, headers=server.headers).raise_for_status()
            time.sleep(3)  # it takes force within a second
        url = f"{server.url}/v1/chat/completions"
        yield Target(name, url, {"Authorization": f"Bearer {server.api_key}"}, body=BODY)
    finally:
        server.stop()


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of the throughput under the pack to that without."""
    measured: dict[str, list[Figures]] = {WITHOUT: [], WITH: []}
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="policy-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = stack.enter_context(rivals.upstream(folder))
        targets = [
            stack.enter_context(serving(folder, WITHOUT, port, guarded=False)),
            stack.enter_context(serving(folder, WITH, port, guarded=True)),
        ]
        for target in targets:
            load(target, CONNECTIONS, 3)
        for number in range(ROUNDS):
            for target in targets if number % 2 else reversed(targets):
                measured[target.name].append(load(target, CONNECTIONS, SECONDS))
    pairs = zip(measured[WITH], measured[WITHOUT], strict=True)
    ratio = median(guarded.per_second / free.per_second for guarded, free in pairs)
    held = [Ratio("calls/s under default rails over none, 500 characters", ratio, BOUND)]
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
