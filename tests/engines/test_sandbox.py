"""Giving up the network: as root, as anybody, and where the kernel does not allow it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from live_engines import MODEL, QUICK
from regalia.engines import LlamaEngine, Places, Weights, sandbox
from regalia.engines.child import Child

LEAVE = "from regalia.engines import sandbox; print(sandbox.leave_network())"
CONNECT = (
    "import errno, socket\n"
    "for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):\n"
    "    try:\n"
    "        socket.socket(socket.AF_INET, kind).connect(('192.0.2.1', 9))\n"
    "    except OSError as error:\n"
    "        print(errno.errorcode[error.errno])\n"
)


def run(program: str, *before: str) -> list[str]:
    command = [*before, sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def user_namespaces() -> bool:
    return subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode == 0


def test_nothing_can_be_reached_any_more() -> None:
    isolation, *errors = run(f"{LEAVE}\n{CONNECT}")
    assert isolation in ("netns", "userns+netns")
    assert errors == ["ENETUNREACH", "ENETUNREACH"]


@pytest.mark.skipif(not user_namespaces(), reason="this kernel gives no user namespaces")
def test_a_user_without_privileges_leaves_through_a_user_namespace() -> None:
    without = ("setpriv", "--bounding-set", "-sys_admin") if os.geteuid() == 0 else ()
    isolation, *errors = run(f"{LEAVE}\n{CONNECT}", *without)
    assert isolation == "userns+netns"
    assert errors == ["ENETUNREACH", "ENETUNREACH"]


def test_a_kernel_that_allows_neither_is_no_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = SimpleNamespace(prctl=lambda *_: 0, unshare=lambda _: -1)
    monkeypatch.setattr(sandbox, "_libc", lambda: refusing)
    assert sandbox.leave_network() == "none"


def test_a_namespace_with_a_way_out_is_no_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    pretending = SimpleNamespace(prctl=lambda *_: 0, unshare=lambda _: 0)
    monkeypatch.setattr(sandbox, "_libc", lambda: pretending)
    monkeypatch.setattr(sandbox, "_reaches_out", lambda: True)
    assert sandbox.leave_network() == "none"


async def test_no_isolation_is_in_the_identity_and_in_the_log(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Weights(MODEL, "sha256:0", Path("/nowhere"))
    engine = LlamaEngine(MODEL, lambda: weights, places, QUICK)
    monkeypatch.setattr(engine, "_weights", weights)
    monkeypatch.setattr(engine, "_child", SimpleNamespace(spec=Child, build="b", isolation="none"))
    with structlog.testing.capture_logs() as logs:
        await engine.started()
    assert engine.identity(MODEL).isolation == "none"
    assert [entry["log_level"] for entry in logs] == ["warning"]
