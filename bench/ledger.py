"""How fast records become durable, receipts are made and a long log opens; each against a bare baseline.

    .venv/bin/python bench/ledger.py [--records N] [--rounds N] [--long N] [--dir D]

The baseline of the appends is one sqlite3 connection that inserts and commits the same bytes in batches of
the same mean size, with no ledger around it: what the disk and SQLite give at best. Figures differ between
machines and hours; the ratios within one run count.
"""

import argparse
import asyncio
import os
import shutil
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from regalia.clock import new_call_id, now_ms
from regalia.ledger import Entry, KeyFiles, Ledger, Part, create_keys
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.storage import open_database, upgrade
from regalia_verify.merkle import leaf_hash
from regalia_verify.record import canonical, commit

ORIGIN = "bench.example/log"
SALT = bytes(32)
REQUEST = b'{"messages":[{"content":"' + b"question " * 40 + b'","role":"user"}],"model":"m"}'
RESPONSE = b'{"choices":[{"message":{"content":"' + b"answer " * 60 + b'"}}]}'
TOKENS = b"[[" + b"12345," * 80 + b"1]]"
DIGEST = "sha256:" + "5" * 64


class Site:
    """A data directory on the disk that is measured."""

    def __init__(self, parent: Path) -> None:
        self.data_dir = Path(tempfile.mkdtemp(prefix="bench-ledger-", dir=parent))
        self.keys = KeyFiles.under(self.data_dir / "keys")
        self.url = f"sqlite:///{self.data_dir}/regalia.db"
        create_keys(self.keys)
        upgrade(open_database(self.url))

    async def ledger(self) -> Ledger:
        """The ledger with its process."""
        return await Ledger.open(
            self.data_dir, open_database(self.url), process="bench", origin=ORIGIN, keys=self.keys
        )

    def log(self) -> Log:
        """The log in this process."""
        return Log.open(Where(self.data_dir, self.url, "bench", ORIGIN, self.keys))


def admission(call: str) -> Entry:
    """A `call.admitted` as the gateway writes it."""
    record = {
        "v": 1, "kind": "call.admitted", "time": 1795323632197, "call": call, "route": "chat.completions",
        "project": "0" * 32, "model": "m", "stream": 0, "request": REQUEST_COMMITMENT,
    }  # fmt: skip
    return Entry(canonical(record), "admitted", call, "project", (Part("request", SALT, REQUEST),))


def outcome(call: str, admitted: bytes) -> Entry:
    """A `call.answered` as the gateway writes it."""
    record = {
        "v": 1, "kind": "call.answered", "time": 1795323632197, "call": call, "route": "chat.completions",
        "project": "0" * 32, "admitted": admitted.hex(), "request": REQUEST_COMMITMENT,
        "response": RESPONSE_COMMITMENT, "tokens": TOKENS_COMMITMENT,
        "model": {"name": "m", "digest": DIGEST},
        "engine": {"name": "e", "build": "b", "digest": DIGEST, "isolation": "namespace"},
        "sampling": {"seed": 1, "temperature": "0.7"}, "policy": {"version": "none", "decision": "allow"},
        "usage": {"input": 3, "output": 3, "total": 6}, "finish": ["stop"],
        "status": 200, "started": 1795323632190, "ended": 1795323632197,
    }  # fmt: skip
    parts = (Part("response", SALT, RESPONSE), Part("tokens", SALT, TOKENS))
    return Entry(canonical(record), "outcome", call, "project", parts)


REQUEST_COMMITMENT = commit("request", SALT, REQUEST)
RESPONSE_COMMITMENT = commit("response", SALT, RESPONSE)
TOKENS_COMMITMENT = commit("tokens", SALT, TOKENS)


def pairs(count: int) -> list[tuple[Entry, Entry]]:
    """The records of so many calls, made before the clock starts."""
    made = []
    for _ in range(count):
        call = new_call_id(now_ms(), os.urandom(10))
        admitted = admission(call)
        made.append((admitted, outcome(call, leaf_hash(admitted.record))))
    return made


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


async def timed_await(action: Awaitable[object]) -> float:
    """Seconds that the awaitable takes."""
    begin = time.perf_counter()
    await action
    return time.perf_counter() - begin


def fsync_ms(parent: Path) -> float:
    """The median time to append 4 KiB to a file and fsync it."""
    with tempfile.NamedTemporaryFile(dir=parent) as file:

        def once() -> None:
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())

        return statistics.median(timed(once) for _ in range(300)) * 1000


def bare_sqlite(parent: Path, calls: list[tuple[Entry, Entry]], batch: int) -> float:
    """Records a second when one connection inserts the same bytes in one table and commits each batch."""
    entries = [entry for pair in calls for entry in pair]
    rows = [(n, e.record, b"".join(p.salt + p.data for p in e.parts)) for n, e in enumerate(entries)]
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE rows (idx INTEGER PRIMARY KEY, leaf BLOB, parts BLOB)")

        def insert() -> None:
            for start in range(0, len(rows), batch):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows[start : start + batch])
                connection.execute("COMMIT")

        seconds = timed(insert)
        connection.close()
    return len(rows) / seconds


async def other_work() -> None:
    """What keeps a gateway's event loop busy all the time: short pieces of work with a system call each."""
    here, there = socket.socketpair()
    with here, there:
        while True:
            here.send(b"x")
            there.recv(1)
            until = time.perf_counter() + 100e-6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)


class Round(msgspec.Struct, frozen=True):
    """One measurement of appends."""

    rate: float
    batch: int
    p50_ms: float
    p99_ms: float
    cpu_us: float
    publish_ms: float


async def append_round(parent: Path, calls: list[tuple[Entry, Entry]], concurrency: int, busy: bool) -> Round:
    """Clients that append an admission, await it, append the outcome, await it."""
    site = Site(parent)
    ledger = await site.ledger()
    latencies: list[float] = []
    queue = iter(calls)

    async def client() -> None:
        for pair in queue:
            for entry in pair:
                begin = time.perf_counter()
                await ledger.append(entry)
                latencies.append(time.perf_counter() - begin)

    other = asyncio.create_task(other_work()) if busy else None
    cpu = time.process_time()
    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    seconds = time.perf_counter() - begin
    cpu = time.process_time() - cpu
    if other is not None:
        other.cancel()
    assert ledger._link is not None
    commits = ledger._link.commits
    publish = await timed_await(ledger.publish())
    await ledger.close()
    shutil.rmtree(site.data_dir)
    return Round(
        len(latencies) / seconds,
        max(1, round(len(latencies) / commits)),
        percentile(latencies, 0.5) * 1000,
        percentile(latencies, 0.99) * 1000,
        cpu / len(latencies) * 1e6,
        publish * 1000,
    )


def appends(parent: Path, concurrency: int, records: int, rounds: int, *, busy: bool = False) -> None:
    """The best of several rounds, each with the baseline right after it; prints a line of the table."""
    calls = pairs(records // 2)
    measured, bare = [], []
    for _ in range(rounds):
        measured.append(uvloop.run(append_round(parent, calls, concurrency, busy)))
        bare.append(bare_sqlite(parent, calls, measured[-1].batch))
    best = max(measured, key=lambda round_: round_.rate)
    print(
        f"| {concurrency:5}{'*' if busy else ' '}| {best.rate:9,.0f} | {best.batch:5} | {best.p50_ms:7.2f} "
        f"| {best.p99_ms:7.2f} | {best.cpu_us:6.1f} | {best.publish_ms:6.0f} "
        f"| {max(bare):9,.0f} | {best.rate / max(bare):5.2f} |",
        flush=True,
    )


async def receipts(parent: Path, records: int) -> None:
    """Receipts of published calls, 16 at a time; and of calls that are not published yet, one by one."""
    site = Site(parent)
    calls = pairs(records // 2)
    ledger = await site.ledger()
    for start in range(0, len(calls), 500):
        chunk = calls[start : start + 500]
        await asyncio.gather(*(ledger.append(admitted) for admitted, _ in chunk))
        await asyncio.gather(*(ledger.append(finished) for _, finished in chunk))
    await ledger.publish()
    asked = [admitted.call for admitted, _ in calls[:: max(1, len(calls) // 3000)]]
    queue = iter(asked)

    async def client() -> None:
        for call in queue:
            await ledger.receipt(call, "project")

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(16)))

    seconds = await timed_await(all_clients())
    fresh = []
    for admitted, finished in pairs(100):
        await ledger.append(admitted)
        await ledger.append(finished)
        fresh.append(await timed_await(ledger.receipt(admitted.call, "project")))
    print(f"receipts of published calls: {len(asked) / seconds:,.0f}/s ({len(asked)} of {len(calls)} calls)")
    print(
        f"receipt right after the outcome, publication included: p50 {percentile(fresh, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(fresh, 0.99) * 1000:.1f} ms"
    )
    await ledger.close()
    shutil.rmtree(site.data_dir)


def reopen(parent: Path, records: int) -> None:
    """Opening a long log, against opening an empty one."""
    site = Site(parent)
    empty = statistics.median(open_and_close(site) for _ in range(3))
    log = site.log()
    grow = timed(lambda: fill(log, records))
    publish = timed(log.publish)
    assert log.publish_failure is None, log.publish_failure
    size = log.size
    log.close()
    full = statistics.median(open_and_close(site) for _ in range(3))
    process = statistics.median([asyncio.run(open_ledger(site)) for _ in range(3)])
    print(
        f"open a log of {size:,} records: {full * 1000:.0f} ms, an empty one {empty * 1000:.0f} ms "
        f"(with the start of its process {process * 1000:.0f} ms); generated in {grow:.0f} s, "
        f"published in {publish:.1f} s"
    )
    shutil.rmtree(site.data_dir)


def open_and_close(site: Site) -> float:
    """Seconds to open the log."""
    logs: list[Log] = []
    seconds = timed(lambda: logs.append(site.log()))
    logs[0].close()
    return seconds


async def open_ledger(site: Site) -> float:
    """Seconds to open the ledger, the start of its process included."""
    begin = time.perf_counter()
    ledger = await site.ledger()
    seconds = time.perf_counter() - begin
    await ledger.close()
    return seconds


def fill(log: Log, records: int) -> None:
    """Many calls in big batches, of few different contents: only their number matters here."""
    template = pairs(1)[0]
    step = 1000
    for _ in range(0, records, 2 * step):
        batch: list[Entry] = []
        for phase in template:
            batch += [
                Entry(phase.record, phase.phase, call, "project")
                for call in (f"call_{log.size + n:026d}" for n in range(step))
            ]
        log.append(batch)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=40_000, help="records per line of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per line; the best counts")
    parser.add_argument(
        "--long", type=int, default=1_000_000, help="records of the long log; 0 leaves it out"
    )
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="the disk to measure")
    options = parser.parse_args()
    sizes = [len(entry.record) for entry in pairs(1)[0]]
    fsync = fsync_ms(options.dir)
    print(f"records of {sizes[0]} and {sizes[1]} bytes, with parts; fsync of 4 KiB {fsync:.2f} ms")
    print("| conc. | records/s | batch |  p50 ms |  p99 ms | CPU µs | pub ms | bare /s   | ratio |")
    print("|------:|----------:|------:|--------:|--------:|-------:|-------:|----------:|------:|")
    for concurrency in (1, 16, 64, 256, 1024):
        records = options.records if concurrency > 1 else options.records // 10
        appends(options.dir, concurrency, records, options.rounds)
    appends(options.dir, 64, options.records, options.rounds, busy=True)
    print("* with an event loop that is never idle, as in a gateway under full load")
    uvloop.run(receipts(options.dir, options.records))
    if options.long:
        reopen(options.dir, options.long)


if __name__ == "__main__":
    main()
