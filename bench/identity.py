"""10,000 keys in 1,000 projects beside one key: the same calls, each with the next key.

Two servers on SQLite and one upstream; short rounds take turns, and the ratio is taken inside each round.
It also says how long it takes to read all keys when a process starts, and to take in one that is new. Run as
`PYTHONPATH=tests python -m bench.identity`.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import Target
from bench.paired import measure, upstream_config
from bench.report import Ratio, ratios, table
from sqlalchemy import insert, update

from regalia.clock import now_ms
from regalia.identity import KeyRing, hash_key, new_key
from regalia.identity.keys import RANDOM_BYTES
from regalia.identity.live import LiveTenants
from regalia.instance import database_of
from regalia.instance.directory import secret_of
from regalia.storage.schema.tenancy import api_keys, identity_state, organisations, projects
from serving import Server

KEYS, PROJECTS, ORGANISATIONS = 10_000, 1_000, 50
CONNECTIONS = 64
ROUNDS = 5
WARM_UP_SECONDS = 20
"""So that each project has had its first call, for which its contents' keys are made: later ones are ready
before their hour begins.
"""
BOUND = 0.95
ONE, MANY = "1 key", f"{KEYS:,} keys in {PROJECTS:,} projects"


def fill(data_dir: Path, file: Path) -> None:
    """Put the organisations, projects and keys into an instance that does not run; the keys into a file."""
    now, secret = now_ms(), secret_of(data_dir)
    texts = [new_key(os.urandom(RANDOM_BYTES)) for _ in range(KEYS)]
    file.write_text("\n".join(texts) + "\n")
    dated = {"created": now, "changed": 2}
    homes = [{"id": f"org_{n}", "name": f"Organisation {n}", **dated} for n in range(ORGANISATIONS)]
    settings = {"ceiling": "official", "jurisdiction": "KE", "retention": "default"}
    places = [
        {
            "id": f"proj_{n}",
            "organisation": f"org_{n % ORGANISATIONS}",
            "name": f"Project {n}",
            **settings,
            **dated,
        }
        for n in range(PROJECTS)
    ]
    keys = [
        {
            "id": f"key_{n}",
            "hash": hash_key(secret, text),
            "name": f"Key {n}",
            "role": "developer",
            "organisation": f"org_{n % PROJECTS % ORGANISATIONS}",
            "project": f"proj_{n % PROJECTS}",
            **dated,
        }
        for n, text in enumerate(texts)
    ]
    database = database_of(data_dir)
    with database.write() as connection:
        connection.execute(insert(organisations), homes)
        connection.execute(insert(projects), places)
        connection.execute(insert(api_keys), keys)
        connection.execute(update(identity_state).values(generation=2))
    database.close()


@contextmanager
def serving(folder: Path, name: str, upstream: int) -> Iterator[Target]:
    """A server with one key, or with all."""
    server = Server(folder / ("data-many" if name == MANY else "data-one"), upstream_config(upstream)).init()
    keys = folder / f"{server.data_dir.name}.keys"
    if name == MANY:
        fill(server.data_dir, keys)
    else:
        keys.write_text(f"{server.api_key}\n")
    try:
        server.start()
        yield Target(name, f"{server.url}/v1/chat/completions", keys=keys)
    finally:
        server.stop()


def reading(data_dir: Path) -> list[tuple[str, str]]:
    """How long the first look takes, and one that finds a new key; the instance does not run."""

    async def look() -> list[tuple[str, str]]:
        database = database_of(data_dir)
        live = LiveTenants(database, KeyRing(secret_of(data_dir), {}))
        found = []
        for what in (f"reading {KEYS:,} keys at the start", "taking in one new key"):
            began = time.perf_counter()
            await live.refresh()
            found.append((what, f"{(time.perf_counter() - began) * 1000:.1f} ms"))
            with database.write() as connection:
                connection.execute(update(identity_state).values(generation=3))
                connection.execute(update(api_keys).where(api_keys.c.id == "key_1").values(changed=3))
        database.close()
        return found

    return asyncio.run(look())


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of many keys to one."""
    times: list[tuple[str, str]] = []
    pair = measure(
        serving,
        (ONE, MANY),
        connections=CONNECTIONS,
        rounds=ROUNDS,
        warm_up_seconds=WARM_UP_SECONDS,
        afterwards=lambda folder: times.extend(reading(folder / "data-many")),
    )
    held = [Ratio(f"{MANY} / {ONE}, calls per second", pair.ratio, BOUND)]
    return f"{pair.table}\n\n{table(('keys and roles', 'time'), times)}\n\n{ratios(held)}", held


if __name__ == "__main__":
    text, results = run()
    print(text)
    sys.exit(any(not ratio.holds for ratio in results))
