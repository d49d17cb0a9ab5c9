"""Ports for the servers that tests start: each is given out once, and nothing else on the machine takes it.

A port that the kernel hands out (`bind` to port 0) is free at that moment only: until its server listens, a
second or ten later on a busy machine, the kernel may hand it to the next who asks. These lie below the range
that the kernel hands out from; a process of a test run claims a block of them with a lock that ends with it.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

FIRST = 10_000
BLOCK = 200
FEWEST = 5_000
USUAL_END = 32_768
KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")

_claims: list[TextIO] = []  # open files, whose locks last as long as this process


def _claimed(block: int) -> bool:
    """Whether this block of ports is now ours; another process may have it."""
    file = Path(tempfile.gettempdir()) / f"regalia-test-ports-{os.getuid()}-{block}"
    claim = file.open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def _nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end() -> int:
    """Where the kernel's own ports begin; where those leave too few below, where they usually do."""
    try:
        end = int(KERNELS.read_text().split()[0])
    except OSError:  # another kernel
        return USUAL_END
    return end if end >= FIRST + FEWEST else USUAL_END


def _all_ports() -> Iterator[int]:
    for block in range(FIRST, _end() - BLOCK + 1, BLOCK):
        if _claimed(block):
            yield from filter(_nobody_listens, range(block, block + BLOCK))


_ports = _all_ports()


def free_port() -> int:
    """A TCP port on loopback that nothing listens on and that nobody else is given.

    Raises RuntimeError when every port below the kernel's own is taken.
    """
    for port in _ports:
        return port
    raise RuntimeError(f"no port is left between {FIRST} and {_end()}: end older test runs")
