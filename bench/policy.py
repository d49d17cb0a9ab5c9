"""What a policy costs: the gateway under a country's default rails beside itself without a policy.

Prompts of 500 characters, in which nothing is found; one upstream for both, all on one machine. Two servers
of one and the same version differ by up to 8 % for as long as they run, so several of each are measured, pair
by pair; short rounds take turns, a ratio is taken inside each round, and the median over all rounds counts.
On a busy machine throughput says little; the processor's time a call, of the gateway and its ledger process
without what both spend when idle, says more. Run as `PYTHONPATH=tests python -m bench.policy`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from bench import policy_first_token
from bench.cpu import GATEWAY, LEDGER, Meter, spent
from bench.load import CHAT, Figures, Target, load
from bench.paired import Pair, both, in_turn, together, upstream_config
from bench.report import Ratio, ratios, table

from regalia.policy import packs
from serving import Server

PAIRS = 4
CONNECTIONS = (16, 64)
ROUNDS = 3
SECONDS = 2
IDLE_SECONDS = 3
BOUND = 0.75
CPU_BOUND = 1.33
WITHOUT, WITH = "no policy", "the pack `ke`"
TEXT = (
    "The ministry has published the schedule of mobile clinics for the coming month, with the places and the "
    "times at which mothers can bring their children. "
) * 4
BODY = json.dumps({**json.loads(CHAT), "messages": [{"role": "user", "content": TEXT[:500]}]})


class Spending:
    """The processor's time of servers under load, and their calls, over rounds of all pairs together: a short
    round of a busy machine has few of the ticks in which that time is counted."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self._idle: dict[str, float] = {}
        self._seconds = {WITHOUT: 0.0, WITH: 0.0}
        self._calls = {WITHOUT: 0.0, WITH: 0.0}

    @contextmanager
    def serving(self, folder: Path, name: str, upstream_port: int) -> Iterator[Target]:
        """A server, under the pack or under none."""
        server = Server(folder / ("on" if name == WITH else "off"), upstream_config(upstream_port)).init()
        try:
            server.start()
            if name == WITH:
                body = json.dumps({"document": packs.load("ke")[0].decode()})
                url = f"{server.url}/v1/regalia/policies"
                httpx.post(url, content=body, headers=server.headers).raise_for_status()
                time.sleep(3)  # it takes force within a second
            assert server.process is not None
            self._meters[name] = Meter(server.process.pid, server.process.pid, None, None)
            url = f"{server.url}/v1/chat/completions"
            yield Target(name, url, {"Authorization": f"Bearer {server.api_key}"}, body=BODY)
        finally:
            server.stop()

    def watch_idle(self) -> None:
        """Take what the servers of this pair spend when nobody asks."""
        time.sleep(2)  # what the load left behind
        before = {name: meter.read() for name, meter in self._meters.items()}
        time.sleep(IDLE_SECONDS)
        for name, meter in self._meters.items():
            self._idle[name] = _of_both(spent(before[name], meter.read())) / IDLE_SECONDS

    def load(self, target: Target, connections: int, seconds: int) -> Figures:
        """Load a server, and count what that costs it."""
        meter = self._meters[target.name]
        was, began = meter.read(), time.monotonic()
        figures = load(target, connections, seconds)
        idle = self._idle[target.name] * (time.monotonic() - began)
        self._seconds[target.name] += _of_both(spent(was, meter.read())) - idle
        self._calls[target.name] += figures.per_second * seconds
        return figures

    def told(self) -> tuple[str, Ratio]:
        """The processor's time a call with and without, and their ratio."""
        each = {name: seconds / self._calls[name] for name, seconds in self._seconds.items()}
        rows = [(name, f"{one * 1e6:.0f} µs") for name, one in each.items()]
        ratio = each[WITH] / each[WITHOUT]
        return (
            table(("processor time a call", "gateway and ledger"), rows),
            Ratio("processor time a call under default rails over none", ratio, CPU_BOUND, True),
        )


def _of_both(used: Mapping[str, float]) -> float:
    return used[GATEWAY] + used[LEDGER]


def measure(spending: Spending, rounds: int = ROUNDS, seconds: int = SECONDS) -> list[Pair]:
    """One pair of servers, by the number of connections; processor time at the fewer."""
    with both(spending.serving, (WITHOUT, WITH)) as targets:
        for target in targets:
            load(target, CONNECTIONS[0], 3)
        spending.watch_idle()
        counted = (spending.load, load)
        return [
            in_turn(targets, connections=c, rounds=rounds, seconds=seconds, loading=loading)
            for c, loading in zip(CONNECTIONS, counted, strict=True)
        ]


def run() -> tuple[str, list[Ratio]]:
    """The tables: throughput and processor time under the pack and without, and semantic rails."""
    spending, measured = Spending(), []
    for number in range(PAIRS):
        print(f"    pair {number + 1} of {PAIRS}", flush=True)
        measured.append(measure(spending))
    whole = [together(pairs) for pairs in zip(*measured, strict=True)]
    head = ("on over off, calls/s", *(f"{c} connections" for c in CONNECTIONS))
    rows = [
        (f"pair {number}", *(f"{pair.ratio:.2f}" for pair in pairs))
        for number, pairs in enumerate(measured, 1)
    ]
    times, ratio = spending.told()
    held = [
        Ratio(
            f"calls/s at c={pair.connections} under default rails over none, 500 characters",
            pair.ratio,
            BOUND,
        )
        for pair in whole
    ]
    first, added = policy_first_token.run()
    tables = "\n\n".join([*(pair.table for pair in whole), table(head, rows), times])
    return f"{tables}\n\n{ratios([*held, ratio])}\n\n{first}", [*held, ratio, *added]


if __name__ == "__main__":
    print(run()[0])
