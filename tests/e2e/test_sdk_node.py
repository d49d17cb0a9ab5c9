"""The official `openai` npm package against the real server with the embedded model."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from serving import ROOT, Server, repeated

SOURCES = Path(__file__).with_name("sdk_node")
INSTALLED = ROOT / "build" / "sdk_node"


@pytest.fixture(scope="module")
def package(needs: Callable[[str], Path]) -> Path:
    """The locked package, installed below build/."""
    npm = needs("npm")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    locked = (SOURCES / "package-lock.json").read_bytes()
    stamp = INSTALLED / ".installed"
    with INSTALLED.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests run in several processes
        for source in SOURCES.glob("*.*"):
            shutil.copy2(source, INSTALLED)
        if not stamp.exists() or stamp.read_bytes() != locked:
            install = [str(npm), "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            repeated(lambda: subprocess.run(install, cwd=INSTALLED, check=True, timeout=200))
            stamp.write_bytes(locked)
    return INSTALLED


@pytest.fixture(scope="module")
def found(package: Path, needs: Callable[[str], Path], server: Server) -> dict[str, Any]:
    """What the script saw."""
    environment = {
        **os.environ,
        "BASE_URL": f"{server.url}/v1",
        "API_KEY": server.api_key,
        "MODEL": server.model,
        "EMBEDDING_MODEL": server.embedding_model,
    }
    done = subprocess.run(
        [str(needs("node")), "check.mjs"],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def test_chat_and_stream_agree(found: dict[str, Any]) -> None:
    assert "Nairobi" in found["chat"]
    assert found["stream"] == found["chat"]
    assert found["usage"]["completion_tokens"] == found["streamUsage"]["completion_tokens"]


def test_the_answer_has_a_receipt(found: dict[str, Any], server: Server) -> None:
    verified = verify_receipt(server.receipt(found["call"]), TrustPolicy.parse(server.policy()))
    assert verified.record["kind"] == "call.answered"


def test_a_tool_is_called(found: dict[str, Any]) -> None:
    assert found["tool"] is not None
    assert found["tool"]["name"] == "get_weather"
    assert "city" in json.loads(found["tool"]["arguments"])


def test_responses_whole_and_streamed(found: dict[str, Any]) -> None:
    assert "Nairobi" in found["response"]
    assert found["events"][0] == "response.created"
    assert found["events"][-1] in {"response.completed", "response.incomplete"}


def test_embeddings(found: dict[str, Any]) -> None:
    assert found["dimensions"] == [384, 384]


def test_models_are_listed(found: dict[str, Any], server: Server) -> None:
    assert server.model in found["models"]


def test_errors_have_their_classes(found: dict[str, Any]) -> None:
    assert found["wrongKey"]["name"] == "AuthenticationError"
    assert found["wrongModel"]["name"] == "NotFoundError"
    assert found["wrongModel"]["code"] == "model_not_found"
    assert found["wrongField"]["name"] in {"BadRequestError", "UnprocessableEntityError"}
    assert found["wrongField"]["param"] == "max_tokens"
