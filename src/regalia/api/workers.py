"""Several gateway processes on one listening socket, and the process that keeps them alive.

The supervisor binds the socket; its workers inherit it, so a worker that dies or hangs takes no connection
with it that another could have accepted. They share one log through PostgreSQL, and nothing else. Worker 0
owns the embedded engines. SIGTERM drains all; a worker that ends by itself is replaced.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import FrameType

import msgspec
import structlog

from regalia.api.server import configure_logs
from regalia.config import Config
from regalia.errors import RegaliaError
from regalia.instance import prepare

_LOG = structlog.get_logger()
BACKLOG = 2048
LOOK_S = 0.1
LONGEST_PAUSE_S = 10.0
SETTLED_S = 30.0
KILL_AFTER_S = 30.0
"""So long after the drain's own limit a worker that has not ended is killed."""


class PortTaken(RegaliaError):
    """The address can't be listened on."""


def supervise(config: Config) -> None:
    """Serve with `config.workers` processes until a signal comes. Raises RegaliaError before any starts."""
    configure_logs(config)
    prepare(config)
    with _listen(config) as listening:
        host, port = listening.getsockname()[:2]
        stop = _Stop()
        workers = [Worker(number, config, listening.fileno()) for number in range(config.workers)]
        _LOG.info("serving", url=f"http://{host}:{port}", workers=len(workers))
        while not stop.asked.wait(LOOK_S):
            for worker in workers:
                worker.keep_running()
        listening.close()
    _end(workers, stop, config.limits.drain_seconds + KILL_AFTER_S)


class Worker:
    """One gateway process after another, under one number."""

    def __init__(self, number: int, config: Config, descriptor: int) -> None:
        self.number = number
        self._config = msgspec.json.encode(config, enc_hook=str)
        self._descriptor = descriptor
        self._failures = 0
        self._began = self._due = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        """Start it, or start it again after growing pauses."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._due:
                self._start(now)
        elif (code := self.process.poll()) is not None:
            self._failures = 1 if now - self._began > SETTLED_S else self._failures + 1
            pause = 0.0 if self._failures == 1 else min(LONGEST_PAUSE_S, 0.5 * 2.0 ** min(self._failures, 8))
            _LOG.error("worker ended", worker=self.number, code=code, again_in_s=pause)
            self.process, self._due = None, now + pause

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _start(self, now: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "regalia.api.worker", str(self.number), str(self._descriptor)],
            stdin=subprocess.PIPE,
            pass_fds=[self._descriptor],
            start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on once
        )
        assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
        with suppress(BrokenPipeError):  # it has ended already, which the next look finds
            self.process.stdin.write(self._config + b"\n")
            self.process.stdin.flush()  # and it stays open: its end tells the worker that we are gone
        self._began = now


class _Stop:
    """Notes the first signal; passes later ones on to the workers through `number`."""

    def __init__(self) -> None:
        self.asked = Event()
        self.again = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.again = self.asked.is_set()
        self.asked.set()


def _end(workers: Sequence[Worker], stop: _Stop, patience_s: float) -> None:
    for worker in workers:
        worker.signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while any(worker.process is not None and worker.process.poll() is None for worker in workers):
        if stop.again:
            stop.again = False
            for worker in workers:
                worker.signal(signal.SIGTERM)
        if time.monotonic() > deadline:
            _LOG.error("a worker did not end in time and is killed")
            for worker in workers:
                worker.signal(signal.SIGKILL)
        time.sleep(0.02)
    _LOG.info("stopped serving")


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTaken(f"can't listen on {config.host} port {config.port}: {error.strerror}") from error
    listening.set_inheritable(True)
    return listening


def decode_config(line: bytes) -> Config:
    """The configuration that a supervisor has sent."""
    return msgspec.json.decode(line, type=Config, dec_hook=lambda kind, value: Path(str(value)))
