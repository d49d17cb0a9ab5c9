"""Keeping one child alive: started again with growing pauses, probed, and replaced when it is frozen.

The supervisor decides nothing about traffic but `ready`. An engine that gives tokens is not probed, so
a busy engine is never taken for a dead one; an idle one is asked for a real token, because a frozen
process may still accept connections.
"""

import asyncio
import contextlib
import time
from typing import Protocol

import msgspec
import structlog

from regalia.engines.errors import EngineError, EngineUnavailable
from regalia.errors import RegaliaError

_LOG = structlog.get_logger()


class Timing(msgspec.Struct, frozen=True):
    """Seconds. A probe must be answered within `probe_timeout`, a start done within `start_timeout`."""

    probe_every: float = 10.0
    probe_timeout: float = 60.0
    start_timeout: float = 300.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    settled: float = 60.0
    grace: float = 3.0


class Running(Protocol):
    """A process under supervision."""

    async def exited(self) -> str:
        """Return once it has ended, with how."""
        ...

    async def end(self, grace: float) -> None:
        """End it."""
        ...


class Supervised(Protocol):
    """What the supervisor needs to know how to do."""

    name: str

    async def bring_up(self) -> Running:
        """Start the process. Raises EngineError."""
        ...

    async def probe(self) -> None:
        """Check that it works. Raises EngineError."""
        ...

    def last_progress(self) -> float:
        """When it last gave something, on the monotonic clock."""
        ...

    async def started(self) -> None:
        """It works; traffic follows once this returns. Raises RegaliaError to refuse."""
        ...

    async def stopped(self, reason: str) -> None:
        """It worked and does so no longer."""
        ...


def pause_before(failures: int, timing: Timing) -> float:
    """How long to wait before the start that follows `failures` failures in a row (at least 1)."""
    return min(timing.longest_pause, timing.first_pause * 2.0 ** min(failures - 1, 32))


class Supervisor:
    """Keeps one process alive from `start` to `stop`."""

    def __init__(self, engine: Supervised, timing: Timing) -> None:
        self._engine = engine
        self._timing = timing
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self.ready = False
        self.problem: str | None = "not started"
        self.starts = 0

    async def start(self) -> None:
        """Return when the first start succeeded; raise EngineError if it did not, and go on trying."""
        if self._task is None:
            self._first = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run())
        if self._first is not None:
            await asyncio.shield(self._first)

    async def stop(self) -> None:
        """End the process and stop supervising."""
        self.ready = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failures = 0
        while True:
            begun = time.monotonic()
            reason = await self._one_life()
            lived = time.monotonic() - begun
            failures = 1 if lived > self._timing.settled else failures + 1
            pause = pause_before(failures, self._timing)
            _LOG.warning("engine down", engine=self._engine.name, reason=reason, again_in_s=pause)
            await asyncio.sleep(pause)

    async def _one_life(self) -> str:
        """One process from its start to its end; returns why it ended."""
        process: Running | None = None
        announced = False
        reason = "stopped"
        failure: Exception | None = None
        grace = self._timing.grace
        try:
            process = await self._engine.bring_up()
            await self._engine.probe()
            await self._engine.started()
            announced = True
            self._now_ready()
            reason, grace = await self._watch(process)
        except RegaliaError as error:
            reason, failure = str(error), error
        except Exception as error:
            _LOG.exception("unexpected failure of an engine", engine=self._engine.name)
            reason, failure = f"{type(error).__name__}: {error}", error
        finally:
            self.ready = False
            if process is not None:
                await process.end(grace)
            if announced:
                await self._announce_stop(reason)
        self.problem = reason
        if self._first is not None and not self._first.done() and failure is not None:
            self._first.set_exception(_as_engine_error(failure))
        return reason

    def _now_ready(self) -> None:
        self.starts += 1
        self.ready = True
        self.problem = None
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    async def _watch(self, process: Running) -> tuple[str, float]:
        """Return when the process has to be replaced: why, and how long it may take to end."""
        exited = asyncio.create_task(process.exited())
        try:
            while True:
                done, _ = await asyncio.wait({exited}, timeout=self._timing.probe_every)
                if done:
                    return f"its process {exited.result()}", 0.0
                if time.monotonic() - self._engine.last_progress() < self._timing.probe_every:
                    continue
                try:
                    await self._engine.probe()
                except EngineError as error:
                    return f"it failed its probe: {error}", 0.0
        finally:
            exited.cancel()

    async def _announce_stop(self, reason: str) -> None:
        try:
            await self._engine.stopped(reason)
        except RegaliaError as error:
            _LOG.error("an engine's end was not recorded", engine=self._engine.name, reason=str(error))


def _as_engine_error(failure: Exception) -> EngineError:
    if isinstance(failure, EngineError):
        return failure
    error = EngineUnavailable(str(failure))
    error.__cause__ = failure
    return error
