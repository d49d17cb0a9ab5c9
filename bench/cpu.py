"""Where the processor's time goes: CPU seconds of each kind of process, by /proc before and after a run.

Only processes that live through the run are counted, which all of them do; what a run spends in the kernel on
behalf of a process counts as that process's.
"""

import os
import resource
from collections.abc import Mapping
from pathlib import Path

from serving import children

TICKS = os.sysconf("SC_CLK_TCK")
GATEWAY, LEDGER, POSTGRESQL, UPSTREAM, LOAD = "gateways", "ledger processes", "PostgreSQL", "upstream", "wrk"
KINDS = (GATEWAY, LEDGER, POSTGRESQL, UPSTREAM, LOAD)
IDLE = "idle"
"""Cores that nobody used, in seconds; they may have waited for the disk."""


class Meter:
    """Counts the CPU seconds of one server and of everything that works for it."""

    def __init__(self, server: int, upstream: int, database: str | None, cluster: Path | None) -> None:
        self._server = server
        self._upstream = upstream
        self._database = database
        self._cluster = cluster

    def read(self) -> dict[str, float]:
        """CPU seconds so far, by kind; of PostgreSQL those of its shared processes, too."""
        spent = dict.fromkeys(KINDS, 0.0)
        for pid in [self._server, *children(self._server)]:
            spent[LEDGER if "regalia.ledger" in _command(pid) else GATEWAY] += _seconds(pid)
        for pid in [self._upstream, *children(self._upstream)]:
            spent[UPSTREAM] += _seconds(pid)
        for pid in self._postgres():
            spent[POSTGRESQL] += _seconds(pid)
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent[LOAD] = own.ru_utime + own.ru_stime  # wrk is the only child that ends during a run
        idle, waiting = Path("/proc/stat").read_text().splitlines()[0].split()[4:6]
        spent[IDLE] = (int(idle) + int(waiting)) / TICKS
        return spent

    def _postgres(self) -> list[int]:
        """The sessions at this server's database, and what writes and syncs for all."""
        if self._cluster is None:
            return []
        main = int((self._cluster / "data" / "postmaster.pid").read_text().split("\n")[0])
        found = [main]
        for pid in children(main):
            title = _command(pid)
            session = title.startswith("postgres: regalia ")
            if not session or f" {self._database} " in title:
                found.append(pid)
        return found


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was spent in between."""
    return {kind: after[kind] - before[kind] for kind in (*KINDS, IDLE)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _seconds(pid: int) -> float:
    """User and system time of a process's threads (proc(5), fields 14 and 15)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
