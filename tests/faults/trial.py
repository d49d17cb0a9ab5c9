"""One trial: a short workload on a real ledger process with one fault, a restart without it, and a verdict.

Nothing is mocked: the process, SQLite, the vault, the files and the keys are those of a server. What the
workload was told is kept, and after the restart all of it must still hold.
"""

import asyncio
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import msgspec

from faults.injection import Fault, Role, Tracer, threads_of
from ledger_kit import ORIGIN, Call, Site, receipt
from regalia.errors import AuditUnavailable, RegaliaError
from regalia.ledger import Entry, Ledger, neighbours
from regalia.ledger import ledger as ledger_module
from regalia.ledger.fsck import check_log
from regalia.storage import upgrade
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.source import Folder, TiledLog

CALLS = 12
PROJECTS = 3
RESUME_S = 60.0
"""One fault passes; for so long service may take to resume by itself."""
TRIAL_S = 240.0
THREADS = 8
"""One commits, one publishes, four write files, two prove."""
WARM_ROUNDS = 5
GONE_ROUNDS = 200
_spawn = ledger_module._spawn


class Told(msgspec.Struct):
    """What the ledger has told the workload, and so must hold for ever."""

    records: dict[int, str] = {}
    """Index to SHA-256 of each record that was acknowledged."""
    answered: list[Call] = []
    """Calls whose admission and outcome were both acknowledged: their answers went out."""
    receipts: list[tuple[str, Call]] = []
    checkpoints: list[bytes] = []
    refused: int = 0
    halted: str = ""
    """Why the ledger did not open, the workload then being nothing."""
    processes: list[int] = []
    """The ledger processes, one after the other."""


class Trial(msgspec.Struct, frozen=True):
    """What came of a fault: what the gateway saw, and everything that was not safe."""

    fault: Fault | None
    outcome: str
    hits: int
    counts: Counter[str]
    unsafe: list[str]


class SiteOnPostgresql(Site, frozen=True):
    """A data directory whose database is on a server."""

    database_url: str

    @property
    def url(self) -> str:
        return self.database_url


class Bench:
    """Makes trials, each in a fresh copy of one new data directory, on PostgreSQL with a fresh database."""

    def __init__(self, strace: Path, folder: Path, new_database: Callable[[], str] | None = None) -> None:
        self._strace = strace
        self._folder = folder
        self._new_database = new_database
        self._pristine = Site.make(folder / "pristine")
        self._count = 0

    def count(self, role: Role) -> Counter[str]:
        """How many of each system call a workload without faults makes."""
        return self._run(role, None).counts

    def trial(self, fault: Fault) -> Trial:
        """The workload with this fault."""
        return self._run(fault.role, fault)

    def _fresh_site(self, folder: Path) -> Site:
        site = self._pristine.copy(folder)
        if self._new_database is None:
            return site
        site = SiteOnPostgresql(folder, self._new_database())
        upgrade(site.database())
        return site

    def _run(self, role: Role, fault: Fault | None) -> Trial:
        self._count += 1
        site = self._fresh_site(self._folder / str(self._count))
        told = Told()
        tracers: list[Tracer] = []

        def attach(threads: list[int]) -> None:
            tracers.append(Tracer(self._strace, threads, fault, self._folder / f"{self._count}.trace"))

        def spawn_traced(connection: socket.socket) -> subprocess.Popen[bytes]:
            child = _spawn(connection)
            told.processes.append(child.pid)
            if role == "commits" and not tracers:
                _await_first_request(child.pid)
                attach([child.pid])
            return child

        async def work() -> None:
            try:
                async with asyncio.timeout(TRIAL_S):
                    await _workload(site, told, attach if role == "publishes" else None)
            except TimeoutError:
                told.halted = f"hung for {TRIAL_S:.0f} s"

        with patch.object(ledger_module, "_spawn", spawn_traced), patch.object(ledger_module, "WATCH_S", 0.1):
            asyncio.run(work())
        for tracer in tracers:
            tracer.ended()
        tracer = tracers[0]
        unsafe = [*_unclear(told), *broken(site, told)]
        if not unsafe:
            shutil.rmtree(site.data_dir)
        return Trial(fault, _outcome(told, tracer.hits), tracer.hits, tracer.counts(), unsafe)


async def _workload(site: Site, told: Told, attach: Callable[[list[int]], None] | None) -> None:
    """A dozen calls of three projects with receipts and publications."""
    try:
        ledger = await site.ledger()
    except RegaliaError as error:
        told.halted = str(error)
        return
    try:
        if attach is not None:
            await _every_thread_at_work(ledger, told)
            process = told.processes[-1]
            attach([thread for thread in threads_of(process) if thread != process])
        for number in range(CALLS):
            await _one_call(ledger, told, Call.new(f"project-{number % PROJECTS}"), prove=number % 2 == 0)
            if number % 3 == 2:
                await _resumed(ledger)
                with suppress(AuditUnavailable):
                    await ledger.publish()
            with suppress(FileNotFoundError):
                told.checkpoints.append((site.folder / "checkpoint").read_bytes())
        await _resumed(ledger)
    finally:
        await ledger.close()


async def _one_call(ledger: Ledger, told: Told, call: Call, *, prove: bool) -> None:
    await _resumed(ledger)
    if not await _append(ledger, told, call.admission()):
        return
    if not await _append(ledger, told, call.outcome()):
        return
    told.answered.append(call)
    if prove:
        try:
            told.receipts.append((await ledger.receipt(call.id, call.project), call))
        except RegaliaError:  # it may be asked for again; after the restart it must be there
            told.refused += 1


async def _append(ledger: Ledger, told: Told, entry: Entry) -> bool:
    """Whether the record was acknowledged. A client would see 503, or a broken answer, if not."""
    try:
        index = await ledger.append(entry)
    except AuditUnavailable:
        told.refused += 1
        return False
    told.records[index] = sha256(entry.record).hexdigest()
    return True


async def _every_thread_at_work(ledger: Ledger, told: Told) -> None:
    """Load until the publisher, its writers and both provers are there, so that they can be traced."""
    for _ in range(WARM_ROUNDS):
        if len(threads_of(told.processes[-1])) >= THREADS:
            break
        calls = [Call.new("warm") for _ in range(4)]
        for call in calls:
            await _one_call(ledger, told, call, prove=False)
        await asyncio.gather(*(ledger.receipt(call.id, call.project) for call in calls))


async def _resumed(ledger: Ledger) -> None:
    """Wait until calls can be recorded again, as a client that repeats its call would."""
    deadline = time.monotonic() + RESUME_S
    while ledger.unavailable is not None and time.monotonic() < deadline:  # noqa: ASYNC110 - nor has a client
        await asyncio.sleep(0.02)


def _outcome(told: Told, hits: int) -> str:
    """What the gateway saw of the fault."""
    if not hits:
        return "not reached"
    if told.halted:
        return "halted"
    if len(told.processes) > 1:
        return "replaced"
    return "refused" if told.refused else "answered"


def _unclear(told: Told) -> list[str]:
    """A halt must say why; and who is not halted must have answered in the end."""
    if told.halted:
        return [told.halted] if told.halted.startswith("hung") else []
    return [] if told.answered else ["service did not resume: no call was answered"]


def broken(site: Site, told: Told) -> list[str]:
    """Restart without faults; every promise that does not hold any more."""
    try:
        with patch.object(neighbours, "GRACE_S", 0), site.log("after") as log:
            for _ in range(GONE_ROUNDS):
                log.publish()
                if log.publish_failure or not site.verify().history.open:
                    break
                time.sleep(0.1)  # PostgreSQL has yet to notice that the other process is gone
            if log.publish_failure:
                return [f"after a restart {log.publish_failure}"]
            for call in told.answered:  # whoever saw an answer's end can prove it
                verified = site.verify_receipt(receipt(log, call.id, call.project), call)
                if verified.record["kind"] != "call.answered":
                    return [f"{call.id} was answered, its record says {verified.record['kind']}"]
        report = site.verify(closed=True)
        for text, call in told.receipts:
            site.verify_receipt(text, call)
        for checkpoint in told.checkpoints:
            site.verify_extends(checkpoint)
    except (RegaliaError, NotVerified, FormatError, OSError) as error:
        return [f"{type(error).__name__}: {error}"]
    size = report.endorsement.checkpoint.size
    folder = TiledLog(Folder(site.folder), size)
    entries = [sha256(entry).hexdigest() for n in range(-(-size // 256)) for entry in folder.bundle(n)]
    lost = [i for i, digest in told.records.items() if i >= size or entries[i] != digest]
    checked = check_log(site.data_dir, site.database(), ORIGIN, site.keys, "")
    return [
        *(f"the acknowledged record {index} is lost" for index in lost),
        *(f"fsck: {one.where} {one.problem}" for one in checked.found),
    ]


def _await_first_request(process: int) -> None:
    """Wait until the process has imported everything and asks which log to hold."""
    deadline = time.monotonic() + RESUME_S
    while "unix_stream" not in _waits_in(process):
        if time.monotonic() > deadline:
            raise RuntimeError("the ledger process does not wait for its first request")
        time.sleep(0.01)


def _waits_in(process: int) -> str:
    return Path(f"/proc/{process}/wchan").read_text()
