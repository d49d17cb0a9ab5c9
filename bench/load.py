"""Load from `wrk` on one endpoint: requests a second and latency, in integers that wrk counted itself."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
CHAT = json.dumps(
    {
        "model": "fake",
        "messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": "What is the capital of Kenya?"},
        ],
        "max_tokens": 64,
        "temperature": 0.2,
        "seed": 7,
    }
)


class LoadFailed(Exception):
    """wrk did not finish, or some requests failed: figures of such a run say nothing."""


@dataclass(frozen=True)
class Target:
    """Where the load goes: a URL that takes a chat completion, and the headers it wants."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Path | None = None
    """A file of API keys, one a line, that take turns; none: what `headers` say."""
    body: str = CHAT


@dataclass(frozen=True)
class Figures:
    """One run: requests a second, latency in microseconds."""

    per_second: float
    p50: int
    p99: int


def load(target: Target, connections: int, seconds: int) -> Figures:
    """Ask `target` again and again over this many connections. Raises LoadFailed if any answer failed."""
    wrk = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "20s",
        "-s",
        str(SCRIPT),
        target.url,
    ]
    headers = "".join(f"{name}:{value}\n" for name, value in target.headers.items())
    environment = {**os.environ, "BENCH_BODY": target.body, "BENCH_HEADERS": headers}
    if target.keys is not None:
        environment["BENCH_KEYS"] = str(target.keys)
    done = subprocess.run(
        [*wrk, "-s", str(SCRIPT), target.url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode != 0:
        raise LoadFailed(f"{target.name}: {done.stdout}{done.stderr}")
    counted = json.loads(done.stdout.strip().splitlines()[-1])
    if counted["refused"] or counted["broken"] or not counted["requests"]:
        raise LoadFailed(f"{target.name} at {connections} connections: {counted}")
    return Figures(counted["requests"] * 1e6 / counted["microseconds"], counted["p50"], counted["p99"])
