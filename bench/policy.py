"""What a policy costs: the gateway under a country's default rails beside itself without a policy.

Prompts of 500 characters, in which nothing is found. Two servers and one upstream on one machine; short
rounds take turns, and that ratio is taken inside each round. On a busy machine throughput says little; the
processor's time a call, of the gateway and its ledger process without what both spend when idle, says more.
Run as `PYTHONPATH=tests python -m bench.policy`.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from bench import policy_first_token, rivals
from bench.cpu import GATEWAY, LEDGER, Meter, spent
from bench.load import CHAT, Target, load
from bench.paired import measure, upstream_config
from bench.report import Ratio, ratios, table

from regalia.policy import packs
from serving import Server

CONNECTIONS = (16, 64)
ROUNDS = 7
BOUND = 0.75
CPU_BOUND = 1.33
SECONDS = 2
WITHOUT, WITH = "no policy", "the pack `ke`"
TEXT = (
    "The ministry has published the schedule of mobile clinics for the coming month, with the places and the "
    "times at which mothers can bring their children. "
) * 4
BODY = json.dumps({**json.loads(CHAT), "messages": [{"role": "user", "content": TEXT[:500]}]})


@contextmanager
def serving(folder: Path, name: str, upstream_port: int) -> Iterator[Target]:
    """A server, under the pack or under none."""
    with _serving(folder, name, upstream_port) as (target, _):
        yield target


@contextmanager
def _serving(folder: Path, name: str, upstream_port: int) -> Iterator[tuple[Target, int]]:
    """The server, and its process."""
    server = Server(folder / ("on" if name == WITH else "off"), upstream_config(upstream_port)).init()
    try:
        server.start()
        if name == WITH:
            body = json.dumps({"document": packs.load("ke")[0].decode()})
            url = f"{server.url}/v1/regalia/policies"
            httpx.post(url, content=body, headers=server.headers).raise_for_status()
            time.sleep(3)  # it takes force within a second
        url = f"{server.url}/v1/chat/completions"
        assert server.process is not None
        yield Target(name, url, {"Authorization": f"Bearer {server.api_key}"}, body=BODY), server.process.pid
    finally:
        server.stop()


def processor() -> tuple[str, Ratio]:
    """The processor's time a call with and without, and their ratio: of all rounds together, as a short round
    of a busy machine has few of the ticks in which that time is counted."""
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="policy-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = stack.enter_context(rivals.upstream(folder))
        servers = [stack.enter_context(_serving(folder, name, port)) for name in (WITHOUT, WITH)]
        meters = [Meter(pid, pid, None, None) for _, pid in servers]
        for target, _ in servers:
            load(target, CONNECTIONS[0], SECONDS)
        time.sleep(2)  # what the load left behind
        before = [meter.read() for meter in meters]
        time.sleep(5)
        idle = [_of_both(spent(was, meter.read())) / 5 for was, meter in zip(before, meters, strict=True)]
        seconds, calls = [0.0, 0.0], [0.0, 0.0]
        for _ in range(ROUNDS):
            for place, (target, _) in enumerate(servers):
                was, began = meters[place].read(), time.monotonic()
                calls[place] += load(target, CONNECTIONS[0], SECONDS).per_second * SECONDS
                wall = time.monotonic() - began
                seconds[place] += _of_both(spent(was, meters[place].read())) - idle[place] * wall
    times = [one / count for one, count in zip(seconds, calls, strict=True)]
    rows = [(name, f"{one * 1e6:.0f} µs") for name, one in zip((WITHOUT, WITH), times, strict=True)]
    return (
        table(("processor time a call", "gateway and ledger"), rows),
        Ratio("processor time a call under default rails over none", times[1] / times[0], CPU_BOUND, True),
    )


def _of_both(used: Mapping[str, float]) -> float:
    return used[GATEWAY] + used[LEDGER]


def run() -> tuple[str, list[Ratio]]:
    """The tables: throughput and processor time under the pack and without, and semantic rails."""
    pairs = {c: measure(serving, (WITHOUT, WITH), connections=c, rounds=ROUNDS) for c in CONNECTIONS}
    times, ratio = processor()
    held = [
        Ratio(f"calls/s at c={c} under default rails over none, 500 characters", pair.ratio, BOUND)
        for c, pair in pairs.items()
    ]
    first, added = policy_first_token.run()
    tables = "\n\n".join(pair.table for pair in pairs.values())
    return f"{tables}\n\n{times}\n\n{ratios([*held, ratio])}\n\n{first}", [*held, ratio, *added]


if __name__ == "__main__":
    print(run()[0])
