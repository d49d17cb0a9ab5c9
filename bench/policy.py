"""What a policy costs: the gateway under a country's default rails beside itself without a policy.

Prompts of 500 characters, in which nothing is found. Two servers and one upstream on one machine; short
rounds take turns, and the ratio is taken inside each round. Run as `PYTHONPATH=tests python -m bench.policy`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from bench.load import CHAT, Target
from bench.paired import measure, upstream_config
from bench.report import Ratio, ratios

from regalia.policy import packs
from serving import Server

CONNECTIONS = 16
ROUNDS = 7
BOUND = 0.75
WITHOUT, WITH = "no policy", "the pack `ke`"
TEXT = (
    "The ministry has published the schedule of mobile clinics for the coming month, with the places and the "
    "times at which mothers can bring their children. "
) * 4
BODY = json.dumps({**json.loads(CHAT), "messages": [{"role": "user", "content": TEXT[:500]}]})


@contextmanager
def serving(folder: Path, name: str, upstream_port: int) -> Iterator[Target]:
    """A server, under the pack or under none."""
    server = Server(folder / ("on" if name == WITH else "off"), upstream_config(upstream_port)).init()
    try:
        server.start()
        if name == WITH:
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
    pair = measure(serving, (WITHOUT, WITH), connections=CONNECTIONS, rounds=ROUNDS)
    held = [Ratio("calls/s under default rails over none, 500 characters", pair.ratio, BOUND)]
    return f"{pair.table}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
