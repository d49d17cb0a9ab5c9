"""No process of ours looks up a name or connects anywhere but loopback and its own Unix sockets."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import REGALIA, STOP_SECONDS, VERIFY, Server, ServerFactory, children, model_store

TRACE = ["-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-s", "256"]
ADDRESS = re.compile(r"sa_family=(AF_\w+)(.*?)}")
LOOPBACK = ('inet_addr("127.', 'AF_INET6, "::1"', 'inet_addr("0.0.0.0")')
# An engine's child asks its kernel, by an unsent UDP socket, whether its empty namespace is one.
PROBE = 'sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")'


def strays(trace: str, own: Path) -> list[str]:
    """The traced calls with an address that is neither loopback nor a Unix socket below `own`."""
    found = []
    for line in trace.splitlines():
        if not re.search(r"\b(connect|sendto|sendmsg|sendmmsg|bind)\(", line):
            continue
        for family, rest in ADDRESS.findall(line):
            if family in {"AF_INET", "AF_INET6"}:
                loopback = any(address in rest for address in LOOPBACK) and "htons(53)" not in rest
                fine = loopback or PROBE in rest
            elif family == "AF_UNIX":
                fine = str(own) in rest or "sun_path" not in rest or "/tmp/" in rest
            else:
                fine = family == "AF_NETLINK"  # asks this machine's kernel for its own interfaces
            if not fine:
                found.append(line)
    return found


def test_the_check_would_see_a_stray_connection(needs: Callable[[str], Path], tmp_path: Path) -> None:
    probe = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 53))"
    trace = tmp_path / "trace"
    command = [str(needs("strace")), *TRACE, "-o", str(trace), "python3", "-c", probe]
    subprocess.run(command, check=False, timeout=60)
    assert strays(trace.read_text(), tmp_path)


def test_a_whole_session_stays_on_this_machine(
    needs: Callable[[str], Path], new_server: ServerFactory, tmp_path: Path
) -> None:
    strace = str(needs("strace"))
    model_store()
    traces = []

    def traced(name: str, *command: str) -> list[str]:
        traces.append(tmp_path / f"{name}.trace")
        return [strace, *TRACE, "-o", str(traces[-1]), *command]

    def run(name: str, *command: str) -> str:
        done = subprocess.run(
            traced(name, *command), capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    other = tmp_path / "other"
    run("init", REGALIA, "init", "--data-dir", str(other), "--json")

    class Traced(Server):
        def command(self) -> list[str]:
            return traced("serve", *super().command())

        def stop(self, timeout: float = STOP_SECONDS) -> int:
            """strace itself blocks SIGTERM: the server under it is the one to end."""
            if self.process is not None:
                for pid in children(self.process.pid)[:1]:
                    os.kill(pid, signal.SIGTERM)
                self.process.wait(timeout)
            return super().stop()

    plain = new_server(model=True)
    server = Traced(plain.data_dir, api_key=plain.api_key, config={})
    try:
        server.start()
        exchange = server.chat(max_tokens=4)
        assert exchange.status == 200
        assert server.chat(max_tokens=4, stream=True).status == 200
        embedded = server.post("/v1/embeddings", {"model": server.embedding_model, "input": "query: hi"})
        assert embedded.status == 200
        data = ("--data-dir", str(server.data_dir))
        run("list", REGALIA, "models", "list", *data)
        where = ("--base-url", server.url, "--api-key", server.api_key)
        run("ask", REGALIA, "ask", "Hello", "--max-tokens", "4", *data, *where)
        policy, receipt = tmp_path / "policy", tmp_path / "receipt"
        policy.write_text(run("policy", REGALIA, "log", "policy", *data))
        receipt.write_text(server.receipt(exchange.call))
        run("receipt", VERIFY, "receipt", str(receipt), "--policy", str(policy))
        run("log", VERIFY, "log", f"{server.url}/log", "--policy", str(policy))
    finally:
        server.stop()

    assert "connect(" in "".join(trace.read_text() for trace in traces)
    found = {trace.stem: strays(trace.read_text(), tmp_path) for trace in traces}
    assert not any(found.values()), found


def test_the_model_process_has_no_network(server: Server) -> None:
    record = server.wait_record(server.chat().call)
    if record["engine"]["isolation"] == "none":
        pytest.skip("this kernel allows neither kind of network namespace; the record says isolation: none")
    assert server.process is not None
    (engine,) = server.engine_processes()
    own, theirs = (Path(f"/proc/{pid}/ns/net").readlink() for pid in (server.process.pid, engine))
    assert own != theirs
    interfaces = Path(f"/proc/{engine}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] in ([], ["lo"])
    assert len(Path(f"/proc/{engine}/net/route").read_text().splitlines()) <= 1
