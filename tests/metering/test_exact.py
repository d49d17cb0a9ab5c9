"""Budgets, usage and log agree to the token, whatever is cut, killed or revoked, and nothing stays locked.

Thousands of interleaved calls on every route: streams are cut by clients, the engine, the server and the
ledger's process are killed, keys are revoked, budgets run out. Afterwards what the counters, the budgets and
the clients say is compared with the log's records.

`REGALIA_METERING_CALLS` sets how many calls are made in all (a long run: 200000), with choices of its own;
`REGALIA_METERING_SEED` repeats a run's. The last line printed has the figures.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from command_line import command
from metering_traffic import Key, Seen, load
from ports import free_port
from postgresql_kit import running_cluster
from regalia.instance import database_of
from serving import Server, ServerFactory, children, regalia

CALLS = int(os.environ.get("REGALIA_METERING_CALLS", "1200"))
ANY = random.SystemRandom().randrange(2**32) if "REGALIA_METERING_CALLS" in os.environ else 1
SEED = int(os.environ.get("REGALIA_METERING_SEED", str(ANY)))
CLIENTS = 16
ROUNDS = int(os.environ.get("REGALIA_METERING_ROUNDS", "2"))
PRICE = {"input": "1", "cached": "0.5", "output": "2", "embedding": "0.25"}  # EUR for a million tokens
SMALL = max(1200, CALLS)  # tokens
MONEY = f"{max(4000, 2 * CALLS) / 10**6:f}"  # EUR
AT_ONCE = 12
NOTICED_S = 1.2  # by then every process knows of a changed budget, unless the machine is very busy
pytestmark = pytest.mark.timeout(900 + CALLS)
ENGINE = Path(__file__).resolve().parent.parent / "fake_engine.py"


class MortalEngine:
    """The fake engine on a port of its own; it can be killed and comes back."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, str(ENGINE), str(self.port)])
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/v1/models", timeout=10)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        return process

    @property
    def config(self) -> dict[str, Any]:
        base = f"http://127.0.0.1:{self.port}/v1"
        return {"embedded": False, "engines": [{"name": "upstream", "base_url": base, "models": ["fake"]}]}

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def die_and_return(self) -> None:
        self.kill()
        self._process = self._start()


@pytest.fixture
def engine() -> Iterator[MortalEngine]:
    made = MortalEngine()
    yield made
    made.kill()


class House:
    """A server with prices, budgets, limits, projects and keys."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys: list[Key] = []
        self.revoked: list[Key] = []
        self.day = datetime.now(UTC).date()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        with self.server.http() as client:
            content = b"" if body is None else json.dumps(body).encode()
            reply = client.request(method, f"/v1/regalia{path}", content=content)
            assert reply.status_code == 200, (path, reply.status_code, reply.text)
            return reply.json()

    def furnish(self) -> None:
        """Two projects; a key whose budget runs out, a project whose money does, limits at once."""
        other = self.ask("POST", "/projects", {"name": "other", "organisation": "default"})["id"]
        for project in ("default", "default", "default", other, other, other):
            made = self.ask("POST", "/keys", {"name": "of a test", "project": project})
            self.keys.append(Key(made["key"]["id"], made["secret"], project))
        self.ask("POST", "/prices", {"model": "fake", "currency": "EUR", **PRICE})
        for budget in (
            {"scope": "key", "subject": self.keys[0].id, "amount": str(SMALL), "period": "total"},
            {
                "scope": "project",
                "subject": other,
                "amount": MONEY,
                "unit": "EUR",
                "period": "month",
            },
            {"scope": "organisation", "subject": "default", "amount": "1000", "unit": "EUR", "period": "day"},
            {"scope": "organisation", "subject": "default", "amount": "5", "period": "day", "hard": False},
        ):
            self.ask("POST", "/budgets", budget)
        self.ask("POST", "/limits", {"scope": "project", "subject": other, "concurrent": AT_ONCE})

    def revoke(self, key: Key) -> None:
        self.ask("POST", f"/keys/{key.id}/revoke")
        self.keys.remove(key)
        self.revoked.append(key)

    def size(self) -> int:
        """How many entries are committed."""
        database = database_of(self.server.data_dir, self.server.env.get("REGALIA_DATABASE", ""))
        try:
            with database.read() as connection:
                return int(connection.execute(text("SELECT size FROM log_state")).scalar_one())
        finally:
            database.close()

    def budgets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/budgets")["data"]
        return found


async def one_round(
    house: House, calls: int, chance: random.Random, seen: Seen, engine: MortalEngine
) -> None:
    """Load, with the engine killed and a key revoked in the middle of it; at its end the server is killed."""
    server = house.server
    under_way = asyncio.create_task(
        load(server.url, [*house.keys, *house.revoked], calls, CLIENTS, chance, seen)
    )
    await asyncio.sleep(0.5 + chance.random())
    await asyncio.to_thread(engine.die_and_return)
    if len(house.keys) > 4:
        await asyncio.to_thread(house.revoke, house.keys[chance.choice((1, 4))])
    while not under_way.done():
        for budget in await asyncio.to_thread(house.budgets):
            if budget["hard"]:
                assert Decimal(budget["spent"]) <= Decimal(budget["amount"]), (SEED, budget)
        done, _ = await asyncio.wait([under_way], timeout=0.4)
        if not done and seen.made >= calls * 0.9 + chance.random() * calls * 0.1:
            break
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    await asyncio.to_thread(server.process.wait)
    await under_way


async def without_its_ledger(house: House, chance: random.Random, seen: Seen) -> None:
    """Load while the ledger's process is killed, and replaced: some outcomes are doubtful for a while."""
    under_way = asyncio.create_task(load(house.server.url, all_keys(house), 120, CLIENTS, chance, seen))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(kill_ledger, house.server)
    await under_way


def kill_ledger(server: Server) -> None:
    """SIGKILL every ledger process of a running server."""
    assert server.process is not None
    for pid in children(server.process.pid):
        with suppress(OSError):  # it ended meanwhile
            if b"regalia.ledger.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def verdict(house: House) -> dict[str, Any]:
    """`regalia usage --verify`; it must find no difference."""
    where = ["--data-dir", str(house.server.data_dir)]
    if "REGALIA_DATABASE" in house.server.env:
        where += ["--database", house.server.env["REGALIA_DATABASE"]]
    done = regalia("usage", "--verify", "--json", *where, check=False)
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    assert done.returncode == 0, (SEED, found.get("differences"), done.stderr)
    assert found["verified"] is True
    return found


def recomputed(records: list[dict[str, Any]]) -> tuple[Counter[str], Decimal, dict[str, dict[str, Any]]]:
    """Tokens by direction, money and outcomes by call, from the log alone, in decimals of its own."""
    tokens, money, outcomes = Counter[str](), Decimal(0), {}
    for record in records:
        if record["kind"].startswith("call.") and record["kind"] != "call.admitted":
            assert record["call"] not in outcomes, "a call has one outcome"
            outcomes[record["call"]] = record
            if record["kind"] == "call.aborted":
                continue
            usage = record["usage"]
            tokens.update(input=usage["input"], output=usage["output"], requests=1)
            if "cost" in record:
                cached = usage.get("cached", 0)
                if record["route"] == "embeddings":
                    cost = usage["input"] * Decimal(PRICE["embedding"])
                else:
                    cost = (usage["input"] - cached) * Decimal(PRICE["input"])
                    cost += cached * Decimal(PRICE["cached"]) + usage["output"] * Decimal(PRICE["output"])
                assert Decimal(record["cost"]["amount"]) == cost / 10**6
                money += cost / 10**6
    return tokens, money, outcomes


def check(house: House, seen: Seen, records: list[dict[str, Any]]) -> dict[str, int]:
    """Compare log, counters, budgets and what clients were told."""
    tokens, money, outcomes = recomputed(records)
    told = Counter[str]()
    by_key: dict[str, Counter[str]] = {}
    for row in house.ask("GET", "/usage?by=organisation,project,key")["data"]:
        told.update(input=row["usage"]["input"], output=row["usage"]["output"], requests=row["requests"])
        cost = Decimal(row["cost"]["amount"]) if row["cost"] else Decimal(0)  # before the price was noticed
        counts = by_key.setdefault(row["key"], Counter())
        counts.update(tokens=row["usage"]["total"], nano=int(cost * 10**9))
    assert told == tokens, SEED
    assert sum(counts["nano"] for counts in by_key.values()) == int(money * 10**9)
    for call, (_, tokens_in, tokens_out) in seen.answers.items():
        usage = outcomes[call]["usage"]
        assert (usage["input"], usage["output"]) == (tokens_in, tokens_out), (SEED, outcomes[call])
        assert outcomes[call]["kind"] == "call.answered"
    assert seen.cut.keys() <= outcomes.keys(), "whoever got a call's id finds its end on record"
    budgets = house.budgets()
    for budget in budgets if datetime.now(UTC).date() == house.day else []:  # a new day begins at nothing
        counted = [
            counts
            for key, counts in by_key.items()
            if budget["scope"] == "organisation"
            or budget["subject"] in (key, next((k.project for k in all_keys(house) if k.id == key), None))
        ]
        if budget["unit"] == "tokens":
            assert int(budget["spent"]) == sum(counts["tokens"] for counts in counted), (SEED, budget)
        else:
            assert Decimal(budget["spent"]) * 10**9 == sum(counts["nano"] for counts in counted)
        if budget["hard"]:
            assert Decimal(budget["spent"]) <= Decimal(budget["amount"]), (SEED, budget)
    return Counter(record["kind"] for record in outcomes.values())


def all_keys(house: House) -> list[Key]:
    return [*house.keys, *house.revoked]


def check_nothing_is_locked(house: House) -> None:
    """What is left of a budget can be spent, to the token; as many calls at once as ever."""
    key = house.keys[0]
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9})
    need = len(body) + 512 + 9
    ask = {"scope": "key", "subject": key.id, "period": "total"}
    for left, status in ((need - 1, 429), (need, 200)):
        for _ in range(20):  # a call may come to a process that has not noticed the change
            (small,) = (budget for budget in house.budgets() if budget["subject"] == key.id)
            house.ask("POST", "/budgets", {**ask, "amount": str(int(small["spent"]) + left)})
            time.sleep(NOTICED_S)
            with house.server.http() as client:
                headers = {"authorization": f"Bearer {key.secret}"}
                reply = client.post("/v1/chat/completions", content=body, headers=headers)
            if reply.status_code == status and "being fetched" not in reply.text:  # from another process
                break
        assert reply.status_code == status, (SEED, reply.text)

    others = [key for key in house.keys if key.project != "default"]
    raised = {"scope": "project", "subject": others[0].project, "unit": "EUR", "amount": "5"}
    house.ask("POST", "/budgets", raised)
    # As many at once as are allowed, of which each process takes its part.
    at_once = AT_ONCE // house.server.config.get("workers", 1)
    for _ in range(10):
        time.sleep(NOTICED_S)
        seen = Seen()
        calm = random.Random(1)
        asyncio.run(load(house.server.url, others, 3 * at_once, at_once, calm, seen, stay=True))
        if not seen.limited:
            break
    assert not seen.limited, SEED


def drive(house: House, engine: MortalEngine, calls: int, rounds: int) -> str:
    """Everything, from the first start to the comparison; the figures."""
    chance, seen, began = random.Random(SEED), Seen(), time.monotonic()
    house.server.start()
    house.furnish()
    for number in range(rounds):
        if number:
            house.server.start()
        aim = calls * (number + 1) // rounds - seen.made
        asyncio.run(one_round(house, max(aim, 1), chance, seen, engine))
    house.server.start()
    asyncio.run(without_its_ledger(house, chance, seen))
    records = wait_until_closed(house)
    kinds = check(house, seen, records)
    found = verdict(house)
    check_nothing_is_locked(house)
    assert house.server.stop() == 0
    last = verdict(house)
    assert kinds["call.answered"] > calls / 10, kinds
    assert any("budget" in told for told in seen.limited), "no budget ran short"
    assert seen.outcomes["401"], "no revoked key was refused"
    return (
        f"seed {SEED}: {seen.made} calls by clients {dict(seen.outcomes)}, {rounds} kills of the server, "
        f"{rounds} of the engine, {len(house.revoked)} keys revoked; {last['records']} records, outcomes "
        f"{dict(kinds)}; {found['input']} tokens in, {found['output']} out, cost {found['cost']}; "
        f"{found['budgets']} budgets; difference 0; {time.monotonic() - began:.0f} s"
    )


def wait_until_closed(house: House) -> list[dict[str, Any]]:
    """The log's records once every admitted call has its outcome."""
    deadline = time.monotonic() + 200
    while True:
        try:
            published, records = house.server.log_size(), house.server.records()
        except httpx.HTTPStatusError:  # a bundle was replaced by a fuller one meanwhile
            continue
        admitted = {record["call"] for record in records if record["kind"] == "call.admitted"}
        closed = {record["call"] for record in records if record["kind"].startswith("call.")
                  and record["kind"] != "call.admitted"}  # fmt: skip
        if admitted == closed and published == house.size():
            return records
        assert time.monotonic() < deadline, (SEED, len(admitted - closed), house.server.tail())
        time.sleep(0.3)


def test_on_sqlite_nothing_differs_after_any_number_of_crashes(
    new_server: ServerFactory, engine: MortalEngine
) -> None:
    house = House(new_server(**engine.config, log_level="warning"))
    print("\nSQLite, " + drive(house, engine, CALLS * 2 // 3, ROUNDS))


@contextmanager
def _on_postgresql(postgres: Path, new_server: ServerFactory, **config: Any) -> Iterator[Server]:
    with running_cluster(postgres) as cluster:
        url = cluster.fresh()
        server = new_server(init=False, **config)
        server.env["REGALIA_DATABASE"] = url
        made = command("init", "--data-dir", str(server.data_dir), "--database", url, "--json").json
        server.api_key = made["api_key"]
        yield server
        server.stop()


@pytest.mark.needs("postgres")
def test_on_postgresql_two_processes_together_keep_to_every_budget(
    new_server: ServerFactory, engine: MortalEngine, needs: Callable[[str], Path]
) -> None:
    config = {**engine.config, "log_level": "warning", "workers": 2}
    with _on_postgresql(needs("postgres"), new_server, **config) as server:
        print("\nPostgreSQL, two processes, " + drive(House(server), engine, CALLS // 3, 1))
