"""As a new user would: a pack put in force, personal data kept from the model, the decision on record."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import command
from policy.live import activate, ask, document, in_force, record_of, records, said
from serving import Server, verify

NUMBER = "١٢٣٤\u200b٥٦٧٨"  # Arabic-Indic digits, split by a zero-width space


def last_seen(echo: str) -> str:
    """What the model was told, as it was told."""
    return json.dumps(httpx.get(f"{echo}/seen", timeout=60).json()[-1], ensure_ascii=False)


def test_an_id_number_in_disguise_is_redacted_restored_and_on_record(
    live: Server, echo: str, tmp_path: Path
) -> None:
    where = ["--data-dir", str(live.data_dir), "--api-key", live.api_key, "--base-url", live.url]
    made = command("policy", "activate", "ke", *where, "--json").json
    in_force(live, made["policy"])
    text = f"Kitambulisho changu ni {NUMBER}, asante."
    for stream in (False, True):
        reply = live.chat(text, stream=stream)
        assert reply.status == 200, reply.body
        told = last_seen(echo)
        assert "٥٦٧٨" not in told
        assert "⟦KE_" in told, "the model is told that something was there"
        assert said(reply) == f"You said: {text}", "the caller sees what the caller sent"
        record = record_of(live, reply.call)
        assert record["policy"]["version"] == made["policy"]
        assert record["policy"]["decision"] == "redact"
        assert NUMBER not in json.dumps(record, ensure_ascii=False)
    (tmp_path / "receipt").write_text(live.receipt(reply.call))
    (tmp_path / "policy").write_text(live.policy())
    (tmp_path / "request").write_bytes(reply.request)
    (tmp_path / "response").write_bytes(reply.committed)
    done = verify(
        "receipt", str(tmp_path / "receipt"), "--policy", str(tmp_path / "policy"), "--json",
        "--request", str(tmp_path / "request"), "--response", str(tmp_path / "response"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    activated = records(live, "policy.activated")[-1]
    assert (activated["pack"], activated["digest"]) == (made["policy"], made["digest"])
    assert command("policy", "check", "ke", "--json").json["digest"] == made["digest"]


def test_a_pack_for_one_project_takes_the_instances_place_and_is_rolled_back(live: Server) -> None:
    activate(live, document({"id": "quiet", "on": "input", "action": "flag"}, name="base", version="1.0"))
    rail = {"id": "closed", "on": "input", "action": "block", "message": {"en": "Not today."}}
    activate(live, document(rail), "default")
    reply = live.chat("hello")
    assert (reply.status, reply.json["error"]["code"]) == (403, "policy_blocked")
    assert reply.json["error"]["message"] == "Not today."
    record = record_of(live, reply.call)
    assert (record["kind"], record["policy"]["decision"]) == ("call.refused", "block")
    reverted = ask(live, "POST", "/policies/rollback", {"project": "default"})
    assert reverted["policy"] == "none"
    in_force(live, "base@1.0")
    rows = ask(live, "GET", "/policies?project=default")["data"]
    assert [row["project"] for row in rows if row["in_force"]] == [""]
    assert ask(live, "GET", f"/policies/{rows[-1]['id']}")["document"] == ""


def test_a_scheduled_policy_takes_force_when_its_time_comes(live: Server) -> None:
    rail = {"id": "x", "on": "input", "action": "flag"}
    for version, lead_ms in (("1.0", 1500), ("2.0", 20_000), ("3.0", 60_000)):
        soon = int(time.time() * 1000) + lead_ms
        made = activate(live, document(rail, name="soon", version=version), effective=soon)
        if time.time() * 1000 < soon:
            break  # the machine was quick enough: the request came before the time it names
    assert (made["state"], made["in_force"]) == ("active", False)
    in_force(live, f"soon@{version}")
    assert time.time() * 1000 >= soon


@pytest.mark.parametrize(
    ("pack", "says"),
    [
        ("schema: 1\nname: x\nversion: '1.0'\ntitle: x\nrails: []\nretentoin: {days: 1}\n", "`retention`"),
        (document({"id": "x", "on": "input", "action": "flag", "when": "nonsense ("}), "not CEL"),
        (document({"id": "x", "on": "input", "action": "flag", "detector": {"use": "nobody"}}), "not there"),
    ],
)
def test_a_pack_that_can_not_be_used_is_refused_with_the_reason(live: Server, pack: str, says: str) -> None:
    refused = ask(live, "POST", "/policies", {"document": pack}, status=400)
    assert says in refused["error"]["message"]


def test_answers_carry_the_notice_that_a_machine_wrote_them(live: Server) -> None:
    notice = {"en": "Written by a machine.", "sw": "Imeandikwa na mashine."}
    activate(live, document(version="1.1", disclosure={"notice": notice, "body": True}))
    expected: dict[str, Any] = {"ai_generated": True, "notice": notice, "policy": "own@1.1"}
    reply = live.chat("hello")
    assert reply.headers["x-regalia-ai-generated"] == "true"
    assert reply.json["regalia"] == expected
    streamed = live.chat("hello", stream=True)
    assert streamed.headers["x-regalia-ai-generated"] == "true"
    assert [event["regalia"] for event in streamed.events() if "regalia" in event] == [expected]
