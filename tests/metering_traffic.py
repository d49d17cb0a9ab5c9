"""Calls of every kind against a server, and what the clients know of them afterwards."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

WORDS = 12
UNAVAILABLE_S = 120.0
DONE = b"data: [DONE]"


@dataclass(frozen=True)
class Key:
    """An API key of a project, with which calls are made."""

    id: str
    secret: str
    project: str


@dataclass
class Seen:
    """What clients were told: for each whole answer its call, its key and the usage in it."""

    answers: dict[str, tuple[Key, int, int]] = field(default_factory=dict)
    cut: dict[str, Key] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    made: int = 0


def request(chance: random.Random) -> tuple[str, dict[str, Any], int | None]:
    """A path, a body, and after how many bytes the client leaves (None: it stays)."""
    fake: dict[str, Any] = {
        "words": chance.randint(1, WORDS),
        "input": chance.randint(1, 40),
        "delay_ms": chance.choice((0, 0, 1, 4)),
    }
    if chance.random() < 0.3:
        fake["cached"] = chance.randint(0, fake["input"])
    fault = chance.random()
    if fault < 0.05:
        fake["status"] = chance.choice((400, 429, 500))
    elif fault < 0.10:
        fake["die_after"] = chance.randint(0, 5)
    body: dict[str, Any] = {"model": "fake", "fake": fake}
    kind = chance.choice(("chat", "chat", "chat", "completions", "responses", "embeddings", "tokens"))
    if kind == "tokens":
        if chance.random() < 0.5:
            return "/tokenize", body | {"prompt": "abc"}, None
        return "/detokenize", body | {"tokens": [97, 98]}, None
    if kind == "embeddings":
        return "/v1/embeddings", body | {"input": "a text"}, None
    body["stream"] = chance.random() < 0.6
    if kind == "responses":
        path, body = "/v1/responses", body | {"input": "Hi", "max_output_tokens": WORDS}
    elif kind == "completions":
        path, body = "/v1/completions", body | {"prompt": "Hi", "max_tokens": WORDS}
    else:
        message = {"role": "user", "content": "Hi"}
        path, body = "/v1/chat/completions", body | {"messages": [message], "max_tokens": WORDS}
    if body["stream"] and kind != "responses" and chance.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
    return path, body, chance.randint(1, 900) if chance.random() < 0.15 else None


async def call(
    http: aiohttp.ClientSession, url: str, key: Key, chance: random.Random, seen: Seen, stays: bool
) -> bool:
    """One call; whatever happens to it is noted, nothing is raised. A client that stays hears its end.

    Gives whether it was refused only because something is away for now.
    """
    path, body, leaves_after = request(chance)
    if stays:
        leaves_after = None
    seen.made += 1
    ident, received, status = "", b"", 0
    try:
        async with http.post(
            url + path, json=body, headers={"authorization": f"Bearer {key.secret}"}
        ) as reply:
            ident, status = reply.headers.get("x-regalia-call", ""), reply.status
            async for chunk in reply.content.iter_any():
                received += chunk
                if leaves_after is not None and len(received) >= leaves_after:
                    reply.close()
                    break
    except (aiohttp.ClientError, TimeoutError, OSError):
        seen.outcomes["broken off"] += 1
        if status == 200:
            seen.cut[ident] = key
        return False
    if status == 200 and _whole(received, body.get("stream", False), path):
        usage = _usage(received, body.get("stream", False))
        if usage is not None:
            seen.answers[ident] = (key, *usage)
    elif status == 200:
        seen.cut[ident] = key
    seen.outcomes[str(status)] += 1
    if status == 429:
        told = json.loads(received)["error"]["message"]
        seen.limited[told] += 1
        return "being fetched" in told  # a budget's part, by one process from another
    return status == 503


def _whole(received: bytes, stream: bool, path: str) -> bool:
    if not stream:
        return True
    return b"response.completed" in received if path == "/v1/responses" else DONE in received


def _usage(received: bytes, stream: bool) -> tuple[int, int] | None:
    """Tokens in and out as the answer tells, None if it does not."""
    told: dict[str, Any] = {}
    if stream:
        for line in received.split(b"\n"):
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                told = event.get("usage") or event.get("response", {}).get("usage") or told
    else:
        try:
            told = json.loads(received).get("usage") or {}
        except ValueError:  # the client left before the end
            return None
    if not told:
        return None
    return (
        told.get("prompt_tokens", told.get("input_tokens", 0)),
        told.get("completion_tokens", told.get("output_tokens", 0)),
    )


async def load(
    url: str,
    keys: list[Key],
    calls: int,
    clients: int,
    chance: random.Random,
    seen: Seen,
    *,
    stay: bool = False,
) -> None:
    """So many calls by so many clients at once; each by a key at random.

    Some leave in the middle of an answer unless they are told to stay: then no more calls than clients are
    ever under way, while of one that was left the server may hear only after the client's next.
    """
    left, deadline = calls, time.monotonic() + UNAVAILABLE_S

    async def client(http: aiohttp.ClientSession, own: random.Random) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            before = seen.outcomes["broken off"] + seen.outcomes["503"]
            away = await call(http, url, own.choice(keys), own, seen, stay)
            if away and time.monotonic() < deadline:  # on a slow machine what was killed takes long to return
                left += 1
                seen.made -= 1
                await asyncio.sleep(0.1)
            if seen.outcomes["broken off"] + seen.outcomes["503"] > before:
                await asyncio.sleep(0.4)

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
        await asyncio.gather(*(client(http, random.Random(chance.random())) for _ in range(clients)))
