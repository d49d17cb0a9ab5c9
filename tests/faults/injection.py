"""strace at a running ledger process: counts its system calls, or makes one fail or kill.

Only a process that already runs is traced, and only the threads named: strace counts calls for each thread by
itself. When the traced process ends, strace ends too; nothing here ends strace first.
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

Role = Literal["commits", "publishes"]
"""Which threads: the one that opens the log and commits, or those that publish and prove."""

FAILURES: dict[str, tuple[str, ...]] = {
    "write": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "pread64": ("EIO",),
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "rename": ("EIO", "EACCES"),
    "openat": ("EACCES", "EMFILE"),
    "ftruncate": ("EIO",),
    "unlink": ("EACCES",),
    "mkdir": ("ENOSPC",),
    "flock": ("EIO",),
    "connect": ("ECONNREFUSED",),
    "sendto": (),  # to the gateway, which holds the other end: this only fails when the gateway is gone
}
"""How each system call is made to fail; at each the process is also killed."""

KILL = "KILL"
ATTACH_S = 60.0
_CALL = re.compile(r"^(?:\d+\s+)?(\w+)\(", re.MULTILINE)


class Fault(msgspec.Struct, frozen=True):
    """The n-th call of a system call by a thread of that role fails, or kills the process as it begins."""

    role: Role
    syscall: str
    how: str
    n: int

    def __str__(self) -> str:
        return f"{self.role}: {self.syscall} {self.n} {self.how}"

    @property
    def options(self) -> list[str]:
        effect = f"signal={KILL}" if self.how == KILL else f"error={self.how}"
        return ["-e", f"trace={self.syscall}", "-e", f"inject={self.syscall}:{effect}:when={self.n}"]


class Tracer:
    """One strace at some threads of one process."""

    def __init__(self, strace: Path, threads: Sequence[int], fault: Fault | None, out: Path) -> None:
        self._out = out
        self._fault = fault
        wanted = fault.options if fault else ["-e", f"trace={','.join(FAILURES)}"]
        each = [word for thread in threads for word in ("-p", str(thread))]
        command = [str(strace), "-qq", "-o", str(out), *wanted, *each]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + ATTACH_S
        while not all(_traced(thread) for thread in threads):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"strace could not attach: {' '.join(command)}")
            time.sleep(0.005)

    def ended(self) -> None:
        """Wait for strace, whose process has ended."""
        self._process.wait(timeout=ATTACH_S)

    def counts(self) -> Counter[str]:
        """How often each system call was made; of several threads, by the one that made it most."""
        threads: dict[str, Counter[str]] = {}
        for line in self._out.read_text().splitlines():
            if found := _CALL.match(line):
                thread = line.split()[0] if line[0].isdigit() else ""
                threads.setdefault(thread, Counter())[found[1]] += 1
        most = Counter[str]()
        for counted in threads.values():
            most |= counted
        return most

    @property
    def hits(self) -> int:
        """How many calls failed; a kill counts as one."""
        text = self._out.read_text()
        if self._fault is not None and self._fault.how == KILL:
            return int("killed by SIGKILL" in text)
        return text.count("(INJECTED)")


def threads_of(process: int) -> list[int]:
    """The process's threads; the first is the one that commits."""
    return sorted(int(path.name) for path in Path(f"/proc/{process}/task").iterdir())


def _traced(thread: int) -> bool:
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{thread}/status").read_text()
    except FileNotFoundError:
        return False
