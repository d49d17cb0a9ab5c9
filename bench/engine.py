"""Tokens a second through Regalia beside the same engine asked directly over its Unix socket.

The same process answers both ways, in short interleaved rounds; each round gives one ratio, and the
median over the rounds is reported. Every stream asks for a fixed number of tokens, so that only time
varies. The client parses nothing while it reads, because it shares the machine's cores with the engine.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

from bench.report import Ratio, ratios, table
from bench.rivals import INSTALLED

from serving import Server, parse_events

STREAMS = (1, 8)
TOKENS = 96
ROUNDS = 15
"""One answer takes a second and varies by a tenth: the median of fewer pairs wanders more than the bound."""
BOUND = 0.95

Connect = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True)
class Way:
    """One way to the engine."""

    name: str
    connect: Connect
    headers: str = ""


@dataclass
class Result:
    """Tokens a second of each round by (way, streams)."""

    measured: dict[tuple[str, int], list[float]] = field(default_factory=dict)


_numbers = count()


async def stream(way: Way, model: str) -> int:
    """One streamed answer; gives the number of its tokens."""
    question = f"Tell the story of traveller number {next(_numbers)}."
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": TOKENS,
            "ignore_eos": True,
            "temperature": 0.8,
            "seed": 7,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    reader, writer = await way.connect()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n{way.headers}"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    answer = await asyncio.wait_for(reader.read(-1), 300)
    writer.close()
    status, _, chunked = answer.partition(b"\r\n\r\n")
    if b" 200 " not in status.split(b"\r\n")[0]:
        raise RuntimeError(f"{way.name}: {answer[:500]!r}")
    last = parse_events(_unchunked(chunked))[-1]
    if "error" in last:
        raise RuntimeError(f"{way.name}: {last}")
    return int(last["usage"]["completion_tokens"])


def _unchunked(data: bytes) -> bytes:
    """The content of a chunked body."""
    parts = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        data = rest[length + 2 :]
    return b"".join(parts)


async def tokens_per_second(way: Way, model: str, streams: int) -> float:
    """All streams at once, from the first request to the last answer's end."""
    began = time.perf_counter()
    tokens = await asyncio.gather(*(stream(way, model) for _ in range(streams)))
    return sum(tokens) / (time.perf_counter() - began)


async def rounds(ways: tuple[Way, Way], model: str) -> Result:
    """Warm both ways, then take turns; who goes first alternates."""
    result = Result()
    for way in ways:
        await tokens_per_second(way, model, max(STREAMS))
    for number in range(ROUNDS):
        print(f"    round {number + 1} of {ROUNDS}", flush=True)
        for streams in STREAMS:
            for way in ways if number % 2 else reversed(ways):
                speed = await tokens_per_second(way, model, streams)
                result.measured.setdefault((way.name, streams), []).append(speed)
    return result


DIRECT, THROUGH = "the engine, asked directly", "through Regalia"


def measure() -> Result:
    """Serve the embedded model and measure both ways to it."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix="e-", dir=INSTALLED))
    server = Server(folder / "d", {"log_level": "warning"}).init().add_model()
    try:
        server.start()
        model = server.model
        socket = folder / "d" / "run" / f"llama-{model}.sock"
        key = f"authorization: Bearer {server.api_key}\r\n"
        ways = (
            Way(DIRECT, lambda: asyncio.open_unix_connection(str(socket), limit=2**20)),
            Way(THROUGH, lambda: asyncio.open_connection("127.0.0.1", server.port, limit=2**20), key),
        )
        return asyncio.run(rounds(ways, model))
    finally:
        server.stop()
        shutil.rmtree(folder)


def tell(result: Result) -> tuple[str, list[Ratio]]:
    """The result as text, and the ratios that are held to a bound."""
    rows = [
        (name, *(f"{median(result.measured[name, streams]):.1f}" for streams in STREAMS))
        for name in (DIRECT, THROUGH)
    ]
    held = []
    for streams in STREAMS:
        pairs = zip(result.measured[THROUGH, streams], result.measured[DIRECT, streams], strict=True)
        ratio = median(through / direct for through, direct in pairs)
        held.append(Ratio(f"tokens/s through Regalia, {_counted(streams)}", ratio, BOUND))
    head = ("tokens/s", *(_counted(streams) for streams in STREAMS))
    return f"{table(head, rows)}\n\n{ratios(held)}", held


def _counted(streams: int) -> str:
    return f"{streams} stream{'s' if streams > 1 else ''}"


def run() -> tuple[str, list[Ratio]]:
    """Measure and tell."""
    return tell(measure())
