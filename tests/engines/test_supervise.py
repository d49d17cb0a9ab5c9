"""Supervision: an engine that dies or freezes is replaced, one that is busy is not, weights are checked."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from live_engines import MODEL, QUICK, Notes, chat, until
from regalia.engines import (
    EmbeddedSettings,
    EngineBroken,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    LlamaEngine,
    Places,
    Timing,
    Weights,
    WeightsRefused,
)
from regalia.engines.supervise import Supervisor, pause_before
from regalia.errors import RegaliaError
from regalia.models import ModelStore


def test_pauses_grow_and_are_bounded() -> None:
    timing = Timing(first_pause=0.5, longest_pause=30)
    assert [pause_before(failures, timing) for failures in (1, 2, 3, 7, 8, 10_000)] == [0.5, 1, 2, 30, 30, 30]


class FakeProcess:
    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.ended: list[float] = []

    async def exited(self) -> str:
        await self.over.wait()
        return "ended with status 1"

    async def end(self, grace: float) -> None:
        self.ended.append(grace)
        self.over.set()


class FakeEngine:
    """An engine whose every step a test decides."""

    name = "fake"

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.calls: list[str] = []
        self.probes = 0
        self.healthy = True
        self.progress = 0.0
        self.refuse_start: Exception | None = None
        self.broken_start: Exception | None = None

    async def bring_up(self) -> FakeProcess:
        self.calls.append("up")
        if self.broken_start is not None:
            raise self.broken_start
        self.processes.append(FakeProcess())
        return self.processes[-1]

    async def probe(self) -> None:
        self.probes += 1
        if not self.healthy:
            raise EngineTimeout("no token")

    def last_progress(self) -> float:
        return self.progress

    async def started(self) -> None:
        if self.refuse_start is not None:
            raise self.refuse_start
        self.calls.append("started")

    async def stopped(self, reason: str) -> None:
        self.calls.append(f"stopped: {reason}")


FAST = Timing(probe_every=0.02, first_pause=0.01, longest_pause=0.05)


async def test_a_process_that_ends_is_announced_and_started_again() -> None:
    engine = FakeEngine()
    supervisor = Supervisor(engine, FAST)
    await supervisor.start()
    assert supervisor.ready
    engine.processes[0].over.set()
    await until(lambda: supervisor.starts == 2 and supervisor.ready)
    await supervisor.stop()
    assert not supervisor.ready
    assert engine.calls == [
        "up", "started", "stopped: its process ended with status 1", "up", "started", "stopped: stopped"
    ]  # fmt: skip


async def test_a_frozen_process_is_killed_without_grace() -> None:
    engine = FakeEngine()
    supervisor = Supervisor(engine, FAST)
    await supervisor.start()
    engine.healthy = False
    await until(lambda: not supervisor.ready)
    engine.healthy = True
    await until(lambda: supervisor.starts == 2)
    assert engine.processes[0].ended == [0.0]
    assert "stopped: it failed its probe: no token" in engine.calls
    await supervisor.stop()


async def test_an_engine_that_gives_tokens_is_not_probed() -> None:
    engine = FakeEngine()
    supervisor = Supervisor(engine, FAST)
    await supervisor.start()
    engine.progress = float("inf")
    await asyncio.sleep(0.05)
    before = engine.probes
    engine.healthy = False
    await asyncio.sleep(0.2)
    assert supervisor.ready
    assert engine.probes == before
    await supervisor.stop()


async def test_an_engine_whose_start_is_not_recorded_takes_no_traffic() -> None:
    engine = FakeEngine()
    engine.refuse_start = RegaliaError("the ledger is full")
    supervisor = Supervisor(engine, FAST)
    with pytest.raises(EngineUnavailable, match="the ledger is full"):
        await supervisor.start()
    assert not supervisor.ready
    assert supervisor.problem == "the ledger is full"
    assert engine.processes[0].ended
    engine.refuse_start = None
    await until(lambda: supervisor.ready)
    await supervisor.stop()
    assert [call for call in engine.calls if call != "up"] == ["started", "stopped: stopped"]


async def test_an_unexpected_error_is_a_failed_start_not_a_silent_end() -> None:
    engine = FakeEngine()
    engine.broken_start = ZeroDivisionError("oops")
    supervisor = Supervisor(engine, FAST)
    with pytest.raises(EngineUnavailable, match="oops"):
        await supervisor.start()
    engine.broken_start = None
    await until(lambda: supervisor.ready)
    await supervisor.stop()


# The real engine


def llama(
    store: ModelStore, places: Places, notes: Notes | None = None, settings: EmbeddedSettings = QUICK
) -> LlamaEngine:
    watcher = notes.watcher if notes else None
    return LlamaEngine(MODEL, lambda: store.weights(MODEL), places, settings, watcher)


async def test_killed_then_frozen_it_comes_back_and_says_so(model_store: ModelStore, places: Places) -> None:
    notes = Notes()
    impatient = msgspec.structs.replace(QUICK.timing, probe_timeout=5.0)
    engine = llama(model_store, places, notes, msgspec.structs.replace(QUICK, timing=impatient))
    await engine.start()
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: engine.ready and engine.pid not in (None, first))
    second = engine.pid
    assert second is not None
    os.kill(second, signal.SIGSTOP)
    await until(lambda: engine.ready and engine.pid not in (None, first, second))
    reply, _ = await engine.ask("chat.completions", chat("hi", max_tokens=1))
    assert reply.status == 200
    await engine.stop(1.0)
    reasons = [reason for _, reason in notes.stopped]
    assert len(notes.started) == len(reasons) >= 3
    assert reasons[0] == "its process was killed by signal 9"
    assert all(reason.startswith("it failed its probe: no ") for reason in reasons[1:-1])
    assert reasons[-1] == "stopped"
    assert not list(places.run.iterdir()), "the socket was left behind"


async def test_an_engine_that_is_busy_is_not_taken_for_a_frozen_one(
    model_store: ModelStore, places: Places
) -> None:
    timing = msgspec.structs.replace(QUICK.timing, probe_every=0.05)
    engine = llama(model_store, places, settings=msgspec.structs.replace(QUICK, timing=timing))
    await engine.start()
    document = chat("Count.", max_tokens=60, ignore_eos=True)
    asked = [engine.ask("chat.completions", document) for _ in range(QUICK.parallel + 2)]
    results = await asyncio.gather(*asked)  # every slot is taken, and nothing streams
    assert [result.output for _, result in results] == [60] * len(asked)
    assert engine.starts == 1
    await engine.stop(1.0)


async def test_what_is_under_way_is_finished_before_the_end(model_store: ModelStore, places: Places) -> None:
    engine = llama(model_store, places)
    await engine.start()
    document = chat("Count.", max_tokens=30, ignore_eos=True)
    asked = asyncio.create_task(engine.ask("chat.completions", document))
    await until(lambda: engine.in_flight == 1)
    stopping = asyncio.create_task(engine.stop(200.0))
    await until(lambda: not engine.ready)  # a draining engine takes no traffic
    _, result = await asked
    assert result.output == 30
    await stopping
    with pytest.raises(EngineUnavailable):
        engine.client  # noqa: B018 - the property raises


async def test_what_takes_longer_than_the_drain_is_cut_off(model_store: ModelStore, places: Places) -> None:
    engine = llama(model_store, places)
    await engine.start()
    asked = asyncio.create_task(
        engine.ask("chat.completions", chat("Count.", max_tokens=400, ignore_eos=True))
    )
    await until(lambda: engine.in_flight == 1)
    await engine.stop(0.1)
    with pytest.raises((EngineBroken, EngineUnavailable)):
        await asked


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "extra"])
async def test_damaged_weights_refuse_to_start(
    model_store: ModelStore, places: Places, tmp_path: Path, damage: str
) -> None:
    copied = tmp_path / "models" / MODEL
    shutil.copytree(model_store._folder / MODEL, copied)
    weights = next(copied.glob("*.gguf"))
    weights.chmod(0o644)
    file = weights.name
    with weights.open("r+b") as opened:
        if damage == "flipped":
            opened.seek(50_000_000)
            byte = opened.read(1)
            opened.seek(50_000_000)
            opened.write(bytes([byte[0] ^ 1]))
        elif damage == "truncated":
            opened.truncate(1000)
    if damage == "missing":
        weights.unlink()
    if damage == "extra":
        file = "extra.gguf"
        (copied / file).write_bytes(b"GGUF")
    notes = Notes()
    engine = llama(ModelStore(tmp_path / "models"), places, notes)
    with pytest.raises(WeightsRefused, match=file):
        await engine.start()
    assert not engine.ready
    assert engine.problem is not None
    assert file in engine.problem
    assert engine.pid is None, "a child was started with weights that do not match"
    assert notes.started == []
    await engine.stop(0)


async def test_an_unreadable_model_is_a_sentence_and_not_a_hang(tmp_path: Path, places: Places) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    engine = LlamaEngine("broken", lambda: Weights("broken", "sha256:0", broken, 104), places, QUICK)
    with pytest.raises(EngineError, match=r"engine-llama-broken\.log"):
        await engine.start()
    await engine.stop(0)


async def test_too_little_memory_is_said(model_store: ModelStore, places: Places) -> None:
    engine = llama(model_store, places, settings=msgspec.structs.replace(QUICK, memory_mb=64))
    with pytest.raises(EngineError):
        await engine.start()
    await engine.stop(0)


async def test_a_long_path_gets_a_socket_elsewhere(model_store: ModelStore, tmp_path: Path) -> None:
    places = Places(tmp_path / ("long" * 30) / "run", tmp_path / "logs")
    engine = llama(model_store, places)
    await engine.start()
    folder = engine._socket.parent
    assert len(str(engine._socket)) < 100
    assert folder.stat().st_mode & 0o777 == 0o700
    await engine.stop(0)
    assert not folder.exists()


async def test_the_child_dies_with_its_supervisor(model_store: ModelStore, tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from regalia.engines import LlamaEngine, Places\n"
        "from regalia.models import ModelStore\n"
        "from live_engines import MODEL, QUICK\n"
        "async def main():\n"
        f"    store, folder = ModelStore(Path({str(model_store._folder)!r})), Path({str(tmp_path)!r})\n"
        "    engine = LlamaEngine(MODEL, lambda: store.weights(MODEL), Places(folder, folder), QUICK)\n"
        "    await engine.start()\n"
        "    print(engine.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    tests = str(Path(__file__).parents[1])
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": tests}
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: gone(child))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
