"""What a child process does to itself before it loads anything, and how it reports to its supervisor.

Linux only, standard library only. The order matters: the child ties its life to its parent's, gives
up the network, limits its memory, and only then imports native code and opens weights.

Its settings come as one JSON document on standard input, so that nothing of them is in the process
list. It reports on standard output, one JSON object a line: first `{"isolation", "build"}`, then
`{"ready": true}` or `{"error"}`. Whatever native code prints goes to standard error.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

_CLONE_NEWUSER = 0x1000_0000
_CLONE_NEWNET = 0x4000_0000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_END_FIRST = "500"
_SOMEWHERE = ("192.0.2.1", 9)  # TEST-NET-1, RFC 5737; connecting a UDP socket sends nothing

ChildIsolation = Literal["netns", "userns+netns", "none"]


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, who started it, ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its child began")


def leave_network() -> ChildIsolation:
    """Move into an empty network namespace, and check that it is one.

    A process without privileges needs a user namespace of its own for that. Where the kernel allows
    neither, the answer is "none": the supervisor says so in the log and in every record.
    """
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return "none" if _reaches_out() else "netns"
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        return "none" if _reaches_out() else "userns+netns"
    return "none"


def limit_memory(limit: int) -> None:
    """Limit private memory to `limit` bytes (0: no limit), and leave no core dumps with prompts in them.

    When the machine runs out of memory, the kernel is to end this process before the gateway.

    RLIMIT_DATA counts what is allocated (KV cache, buffers, stacks) but not the weights, which are
    mapped from their file; RLIMIT_AS would count those too and refuse models that fit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not in every container
        Path("/proc/self/oom_score_adj").write_text(_END_FIRST)
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def run(serve: Callable[[dict[str, Any], Callable[[], None]], NoReturn], build: str) -> NoReturn:
    """The life of a child: read the settings, give up the network, report, serve.

    `serve(settings, ready)` calls `ready()` once its socket answers, and does not return.
    """
    settings = json.loads(sys.stdin.buffer.read())
    die_with(settings["parent"])
    isolation = leave_network()
    limit_memory(settings["memory"])
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(json.dumps({"isolation": isolation, "build": build}), file=report)

    def ready() -> None:
        print(json.dumps({"ready": True}), file=report)

    try:
        serve(settings, ready)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=report)
        raise


def _reaches_out() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return False
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
