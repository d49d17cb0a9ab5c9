"""A child process that serves on a Unix socket: started, listened to, logged within bounds, ended.

The other side of this conversation is `regalia.engines.sandbox`.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any, cast

import msgspec

from regalia.engines.childlog import BoundedLog, without_content
from regalia.engines.errors import EngineBroken, EngineTimeout, EngineUnavailable

_LINE = 64 * 1024
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_",
    "LD_LIBRARY_PATH",
    "PYTHON",
    "VIRTUAL_ENV",
    "TMPDIR",
    "OMP_",
    "GGML_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "HSA_",
    "ROCR_",
    "ASCEND_",
)


class Report(msgspec.Struct, frozen=True):
    """One line of a child's report."""

    isolation: str = ""
    build: str = ""
    ready: bool = False
    error: str = ""


class Child:
    """A running child. Made by `Child.start`; ended by `end`."""

    def __init__(self, process: asyncio.subprocess.Process, log: BoundedLog, hello: Report) -> None:
        self._process = process
        self._serves = False
        self._logging = asyncio.create_task(self._log(log))
        self.isolation = hello.isolation
        self.build = hello.build

    @classmethod
    async def start(cls, module: str, settings: dict[str, Any], log: Path, patience: float) -> "Child":
        """Start `python -m module`, and return when it says that it is ready.

        Raises EngineUnavailable with the child's own words, or EngineTimeout.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the gateway, which drains first
        )
        child: Child | None = None
        try:
            async with asyncio.timeout(patience):
                stdin = cast(asyncio.StreamWriter, process.stdin)
                stdin.write(msgspec.json.encode({**settings, "parent": os.getpid()}))
                stdin.close()
                hello = await _report(process)
                child = cls(process, BoundedLog(log), hello)
                while not (await _report(process)).ready:
                    pass
                child._serves = True
        except BaseException as error:
            if child is None:
                process.kill()
                await process.wait()
            else:
                await child.end(0)
            if isinstance(error, TimeoutError):
                raise EngineTimeout(f"{module} was not ready within {patience:g} s; see {log}") from error
            if isinstance(error, EngineUnavailable):
                raise EngineUnavailable(f"{error}; see {log}") from error
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def exited(self) -> str:
        """Return once the process has ended, with how."""
        code = await self._process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

    async def end(self, grace: float = 3.0) -> None:
        """Terminate, and kill what is still there after `grace` seconds."""
        with contextlib.suppress(ProcessLookupError):
            if grace:
                self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
        await self._process.wait()
        await self._logging

    async def _log(self, log: BoundedLog) -> None:
        """Write down what the child prints; once it serves, without what clients sent."""
        stderr = cast(asyncio.StreamReader, self._process.stderr)
        try:
            while line := await _line(stderr):
                kept = without_content(line) if self._serves else line
                if kept:
                    log.write(kept)
        finally:
            log.close()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """A line, or a piece of one that is very long; nothing at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed or _LINE)


async def _report(process: asyncio.subprocess.Process) -> Report:
    line = await cast(asyncio.StreamReader, process.stdout).readline()
    if not line:
        code = await process.wait()
        raise EngineUnavailable(f"the engine's process ended with status {code} before it was ready")
    try:
        report = msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError as error:
        raise EngineBroken(f"the engine's process reported {line[:200]!r}") from error
    if report.error:
        raise EngineUnavailable(f"the engine did not start: {report.error}")
    return report


def _environment() -> dict[str, str]:
    """What native code may know of the environment: no keys, no passwords."""
    return {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
