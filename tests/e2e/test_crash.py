"""SIGKILL at random moments under load: no receipt a client holds is lost, and the log never goes backwards.

`REGALIA_CRASH_ROUNDS` sets how many times the server is killed, at moments of its own (`make crash N=1000`),
`REGALIA_CRASH_MINUTES` ends the killing earlier, and `REGALIA_CRASH_SEED` repeats a run's moments. The last
line printed has the figures.
"""

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest

from regalia_verify.log import verify_extension, verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import TlogProof, verify_receipt
from regalia_verify.source import open_source
from serving import FakeEngine, Server, ServerFactory

ROUNDS = int(os.environ.get("REGALIA_CRASH_ROUNDS", "50"))
ANY = random.SystemRandom().randrange(2**32) if "REGALIA_CRASH_ROUNDS" in os.environ else 1
SEED = int(os.environ.get("REGALIA_CRASH_SEED", str(ANY)))
MINUTES = float(os.environ.get("REGALIA_CRASH_MINUTES", "inf"))
TOLD_ROUNDS = 25
CLIENTS = 8
LONGEST_LIFE_S = 0.6


@dataclass
class Seen:
    """What the clients hold: whole answers by call id, receipts, and calls whose answer broke off."""

    answers: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    checkpoints: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)


async def one_call(client: httpx.AsyncClient, seen: Seen, chance: random.Random, number: int) -> None:
    """A call, streamed or not, and now and then its receipt."""
    stream = chance.random() < 0.5
    steer = {"delay_ms": chance.choice((0, 1, 5)), "words": chance.randint(1, 30)}
    fields = {"model": "fake", "stream": stream, "fake": steer}
    message = {"role": "user", "content": f"Question {number}"}
    request = client.build_request("POST", "/v1/chat/completions", json={**fields, "messages": [message]})
    call, body = "", b""
    try:
        reply = await client.send(request, stream=True)
        call = reply.headers.get("x-regalia-call", "")
        body = await reply.aread()
    except httpx.TransportError:
        if call:
            seen.broken.add(call)
        return
    if reply.status_code != httpx.codes.OK:
        seen.refused[reply.status_code] += 1
        return
    if stream and not body.endswith(b"data: [DONE]\n\n"):
        seen.broken.add(call)
        return
    seen.answers[call] = (request.content, body.removesuffix(b"data: [DONE]\n\n"))
    if chance.random() < 0.1:
        receipt = await client.get(f"/v1/receipts/{call}")
        if receipt.status_code == httpx.codes.OK:
            seen.receipts[call] = receipt.text


async def load_until(server: Server, seen: Seen, chance: random.Random, stop: asyncio.Event) -> None:
    """Clients that call again and again until the server is gone."""
    numbers = iter(range(10**9))

    async def client_loop(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            try:
                await one_call(client, seen, chance, next(numbers))
            except httpx.TransportError:
                await asyncio.sleep(0.01)

    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(
        base_url=server.url, headers=server.headers, timeout=60, limits=limits, trust_env=False
    ) as client:
        await asyncio.gather(*(client_loop(client) for _ in range(CLIENTS)))


async def live_and_die(server: Server, seen: Seen, chance: random.Random) -> None:
    """Start, take load for a random while (the start-up itself included), and be killed."""
    stop = asyncio.Event()
    server.spawn()
    load = asyncio.create_task(load_until(server, seen, chance, stop))
    if chance.random() < 0.85:  # otherwise the kill may fall into the start
        await asyncio.to_thread(server.wait_ready)
        seen.checkpoints.append(await asyncio.to_thread(server.checkpoint))
    await asyncio.sleep(chance.random() * LONGEST_LIFE_S)
    await asyncio.to_thread(server.kill)
    stop.set()
    await load


@pytest.mark.long
@pytest.mark.timeout(300 + 30 * ROUNDS)
def test_no_kill_loses_a_receipt(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    chance = random.Random(SEED)
    server = new_server(**fake_engine.config, log_level="warning")
    seen = Seen()
    began = time.monotonic()
    rounds = 0
    # A machine that is too slow to answer much between two kills gets more of them.
    while (rounds < ROUNDS or (len(seen.answers) <= ROUNDS and rounds < 3 * ROUNDS)) and (
        time.monotonic() < began + 60 * MINUTES
    ):
        asyncio.run(live_and_die(server, seen, chance))
        rounds += 1
        if rounds % TOLD_ROUNDS == 0:
            told = f"{rounds} kills in {time.monotonic() - began:.0f} s, {len(seen.answers)} answers"
            print(f"seed {SEED}: {told}", flush=True)
    lasted = time.monotonic() - began

    began = time.monotonic()
    server.start()
    start_s = time.monotonic() - began
    policy = TrustPolicy.parse(server.policy())
    outcomes = Counter[str]()

    for call, text in seen.receipts.items():  # what a client already holds verifies for ever
        request, response = seen.answers[call]
        verify_receipt(text, policy, request=request, response=response)
    with server.http() as client:
        for call, (request, response) in seen.answers.items():  # whoever saw an answer's end can prove it
            receipt = client.get(f"/v1/receipts/{call}")
            assert receipt.status_code == httpx.codes.OK, (SEED, call, receipt.text)
            verified = verify_receipt(receipt.text, policy, request=request, response=response)
            assert verified.record["kind"] == "call.answered"
            if call in seen.receipts:
                assert TlogProof.parse(seen.receipts[call]).index == verified.index
        for call in seen.broken:
            receipt = client.get(f"/v1/receipts/{call}")
            assert receipt.status_code == httpx.codes.OK, (SEED, call, receipt.text)
            outcomes[verify_receipt(receipt.text, policy).record["kind"]] += 1

    newest = server.checkpoint().encode()
    for checkpoint in seen.checkpoints:  # nothing that was ever published is taken back
        verify_extension(checkpoint.encode(), newest, policy, open_source(f"{server.url}/log"))
    exit_code = server.stop()
    report = verify_log(open_source(str(server.data_dir / "log")), policy, previous=newest, closed=True)
    kinds = report.history.kinds

    print(
        f"\nseed {SEED}: {rounds} kills in {lasted:.0f} s; {len(seen.answers)} answers proved, "
        f"{len(seen.receipts)} receipts held, {len(seen.broken)} answers broken off {dict(outcomes)}; "
        f"log of {report.endorsement.checkpoint.size} entries: {dict(kinds)}; last start {start_s:.2f} s"
    )
    assert exit_code == 0
    assert len(seen.answers) > min(rounds, ROUNDS), "the load was too small to prove anything"
    assert seen.broken, "no kill fell into an answer"
    assert kinds["call.aborted"] > 0
    assert kinds["log.opened"] == 1
