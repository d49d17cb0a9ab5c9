"""As a new user would: put a pack in force, see personal data kept from the model, and the decision recorded.

One server for all of it: the tests run in the order in which they stand.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving import Exchange, Server, ServerFactory, background, free_port, regalia, verify

NUMBER = "١٢٣٤\u200b٥٦٧٨"  # Arabic-Indic digits, split by a zero-width space
STAND_IN = """
schema: 1
name: stand-in
version: "1.0"
title: Identity numbers of Kenya, for tests
languages: [en, sw]
rails:
  - id: identifiers
    on: input
    detector: {use: identifiers, kinds: ["ke.*"]}
    action: redact
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("echo_engine.py")), str(port)]
    with background(command, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Iterator[Server]:
    factory = ServerFactory(tmp_path_factory.mktemp("policy"))
    engines = [{"name": "echo", "adapter": "openai", "base_url": f"{engine}/v1", "models": ["echo"]}]
    yield factory(embedded=False, engines=engines).start()
    factory.stop_all()


def activate(server: Server, pack: str, *options: str) -> dict[str, Any]:
    """Put a pack in force through the server, as the first key's owner."""
    where = [
        "--data-dir",
        str(server.data_dir),
        "--api-key",
        server.api_key,
        "--base-url",
        server.url,
        "--json",
    ]
    made: dict[str, Any] = json.loads(regalia("policy", "activate", pack, *where, *options).stdout)
    return made


def in_force(server: Server, label: str) -> Exchange:
    """Ask until the policy is in force, for a second at most (and some for a slow machine)."""
    deadline = time.monotonic() + 10
    while True:
        reply = server.chat("hello")
        if server.wait_record(reply.call)["policy"]["version"] == label or time.monotonic() > deadline:
            return reply


def pack_of(tmp_path: Path, *rails: dict[str, Any], **fields: Any) -> str:
    """A pack in a file."""
    document = {
        "schema": 1,
        "name": "own",
        "version": "1.0",
        "title": "Our own",
        "rails": list(rails),
        **fields,
    }
    file = tmp_path / "pack.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True))
    return str(file)


def kenya(tmp_path: Path) -> tuple[str, str]:
    """The Kenya pack and its label."""
    packs = {row["name"]: row for row in json.loads(regalia("policy", "packs", "--json").stdout)}
    if "ke" in packs:
        return "ke", packs["ke"]["policy"]
    file = tmp_path / "ke.yaml"
    file.write_text(STAND_IN)
    return str(file), "stand-in@1.0"


def last_seen(engine: str) -> str:
    """What the model was told, as it was told."""
    return json.dumps(httpx.get(f"{engine}/seen").json()[-1], ensure_ascii=False)


@pytest.mark.parametrize("stream", [False, True])
def test_an_id_number_in_disguise_is_redacted_and_restored_and_on_record(
    server: Server, engine: str, tmp_path: Path, stream: bool
) -> None:
    pack, label = kenya(tmp_path)
    activate(server, pack)
    in_force(server, label)
    text = f"Kitambulisho changu ni {NUMBER}, asante."
    reply = server.chat(text, stream=stream)
    assert reply.status == 200, reply.body
    told = last_seen(engine)
    assert "٥٦٧٨" not in told
    assert "⟦KE_" in told, "the model is told that something was there"
    if stream:
        said = "".join(event["choices"][0]["delta"].get("content") or "" for event in reply.events())
    else:
        said = reply.json["choices"][0]["message"]["content"]
    assert said == f"You said: {text}", "the caller sees what the caller sent"
    record = server.wait_record(reply.call)
    assert record["policy"]["version"] == label
    assert record["policy"]["decision"] == "redact"
    assert NUMBER not in json.dumps(record, ensure_ascii=False)
    (tmp_path / "receipt").write_text(server.receipt(reply.call))
    (tmp_path / "policy").write_text(server.policy())
    (tmp_path / "request").write_bytes(reply.request)
    (tmp_path / "response").write_bytes(reply.committed)
    done = verify(
        "receipt", str(tmp_path / "receipt"), "--policy", str(tmp_path / "policy"), "--json",
        "--request", str(tmp_path / "request"), "--response", str(tmp_path / "response"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["record"]["policy"]["decision"] == "redact"


def test_the_activation_is_on_record_with_the_documents_digest(server: Server, tmp_path: Path) -> None:
    pack, _ = kenya(tmp_path)
    checked = json.loads(regalia("policy", "check", pack, "--json").stdout)
    activated = [record for record in server.records() if record["kind"] == "policy.activated"]
    assert activated[-1]["digest"] == checked["digest"]
    assert activated[-1]["pack"] == checked["policy"]


def test_a_pack_for_one_project_leaves_the_others_alone_and_can_be_rolled_back(
    server: Server, tmp_path: Path
) -> None:
    rail = {"id": "closed", "on": "input", "action": "block", "message": {"en": "Not today."}}
    made = activate(server, pack_of(tmp_path, rail), "--project", "default")
    assert made["in_force"]
    deadline = time.monotonic() + 10
    while (reply := server.chat("hello")).status == 200 and time.monotonic() < deadline:
        pass
    assert (reply.status, reply.json["error"]["code"]) == (403, "policy_blocked")
    assert reply.json["error"]["message"] == "Not today."
    assert server.wait_record(reply.call, "call.refused")["policy"]["decision"] == "block"
    where = ["--api-key", server.api_key, "--base-url", server.url, "--data-dir", str(server.data_dir)]
    regalia("policy", "rollback", "--project", "default", *where)
    while (reply := server.chat("hello")).status != 200 and time.monotonic() < deadline + 10:
        pass
    assert reply.status == 200
    states = regalia("policy", "status", "--project", "default", *where, "--json").stdout
    assert [row["project"] for row in json.loads(states) if row["in_force"]] == [""]


def test_a_policy_that_is_scheduled_waits(server: Server, tmp_path: Path) -> None:
    made = activate(
        server, pack_of(tmp_path, {"id": "x", "on": "input", "action": "flag"}), "--at", "2099-01-01"
    )
    assert not made.get("in_force")
    assert made["state"] == "active"


def test_answers_carry_the_notice_that_a_machine_wrote_them(server: Server, tmp_path: Path) -> None:
    disclosure = {"notice": {"en": "Written by a machine.", "sw": "Imeandikwa na mashine."}, "body": True}
    activate(server, pack_of(tmp_path, version="1.1", disclosure=disclosure))
    in_force(server, "own@1.1")
    reply = server.chat("hello")
    assert reply.headers["x-regalia-ai-generated"] == "true"
    assert reply.json["regalia"] == {
        "ai_generated": True,
        "notice": disclosure["notice"],
        "policy": "own@1.1",
    }
    streamed = server.chat("hello", stream=True)
    assert streamed.headers["x-regalia-ai-generated"] == "true"
    assert [event["regalia"]["ai_generated"] for event in streamed.events() if "regalia" in event] == [True]
