"""Records as OCSF events: each has what schema 1.2.0 demands of its class, and nothing that it does not know.

`ocsf_1_2_0.json` is taken from the schema's release 1.2.0: the attributes of the three classes and of the
objects in them, `!` after what is required.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.audit import syslog
from regalia.audit.ocsf import event_of
from regalia_verify.record import FIELDS, canonical

SCHEMA = json.loads(Path(__file__).with_name("ocsf_1_2_0.json").read_text())
ORIGIN = "log.example/llm"
WHO = "4f" * 16
ADMIN = """signed_in signed_out signin_refused account_locked user_added user_provisioned user_deprovisioned
user_reprovisioned user_disabled user_enabled account_added account_reset account_disabled account_enabled
account_totp_enrolled account_totp_removed role_given role_taken user_changed identity_linked project_created
project_archived key_revoked change_failed anything_else"""
KINDS = [*(f"admin.{name}" for name in ADMIN.split()), *FIELDS]
VALUES: dict[str, Any] = {
    "by": WHO,
    "subject": WHO,
    "provider": "local",
    "session": "sess_1",
    "reason": "password",
    "unrecorded": 3,
    "role": "auditor",
    "project": WHO,
    "organisation": WHO,
    "call": "call_01m80tvjajb7wmyvw6jfmbvzqy",
    "route": "chat.completions",
    "status": 200,
    "error": "engine_failed",
    "engine": {"name": "upstream"},
    "keys": ["a", "b"],
}
TYPES = {"integer_t": int, "long_t": int, "timestamp_t": int, "boolean_t": bool}


def check(value: dict[str, Any], kind: dict[str, Any], where: str) -> None:
    """Fail unless an object is one of the schema's kind."""
    attributes = kind["attributes"]
    required = {name for name, form in attributes.items() if form.endswith("!")}
    assert required <= value.keys(), (where, required - value.keys())
    assert value.keys() <= attributes.keys(), (where, value.keys() - attributes.keys())
    if one_of := kind.get("constraints", {}).get("at_least_one"):
        assert value.keys() & set(one_of), (where, one_of)
    for name, found in value.items():
        if name in kind.get("enums", {}):
            assert found in kind["enums"][name], (where, name, found)
        check_value(found, attributes[name].rstrip("!"), f"{where}.{name}")


def check_value(value: Any, form: str, where: str) -> None:
    if form.endswith("[]"):
        assert isinstance(value, list), where
        for item in value:
            check_value(item, form[:-2], where)
    elif form in SCHEMA["objects"]:
        check(value, SCHEMA["objects"][form], where)
    else:
        assert type(value) is TYPES.get(form, str), (where, form, value)


def event(record: dict[str, Any]) -> dict[str, Any]:
    return event_of(record, canonical(record), 7, ORIGIN)


def check_event_of(kind: str, fields: Iterable[str]) -> None:
    record = {"v": 1, "kind": kind, "time": 1_800_000_000_000} | {name: VALUES[name] for name in fields}
    found = event(record)
    check(found, SCHEMA["classes"][str(found["class_uid"])], kind)
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert found["category_uid"] == found["class_uid"] // 1000
    assert found["metadata"]["uid"] == f"{ORIGIN}#7"
    assert found["raw_data"].encode() == canonical(record)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_record_is_an_event_of_the_schema(kind: str) -> None:
    check_event_of(kind, VALUES)
    check_event_of(kind, ())


@given(kind=st.sampled_from(KINDS), fields=st.sets(st.sampled_from(sorted(VALUES))))
def test_whatever_fields_a_record_has(kind: str, fields: set[str]) -> None:
    check_event_of(kind, fields)


def test_what_happened_is_told_apart() -> None:
    def told(kind: str, **fields: Any) -> tuple[int, int, int]:
        found = event({"v": 1, "kind": kind, "time": 1, **fields})
        return found["class_uid"], found["activity_id"], found["status_id"]

    assert told("admin.signed_in", subject=WHO, provider="alpha") == (3002, 1, 1)
    assert told("admin.signin_refused", reason="password") == (3002, 1, 2)
    assert told("admin.signed_out", subject=WHO) == (3002, 2, 1)
    assert told("admin.account_locked", subject=WHO) == (3001, 9, 1)
    assert told("admin.user_deprovisioned", subject=WHO) == (3001, 5, 1)
    assert told("admin.project_created") == (6003, 1, 1)
    assert told("content.read") == (6003, 2, 1)
    assert told("content.erased") == (6003, 4, 1)
    assert told("call.answered", status=200) == (6003, 99, 1)
    assert told("call.refused", status=503) == (6003, 99, 2)
    assert told("admin.change_failed") == (6003, 99, 2)


def test_syslog_messages_are_rfc_5424() -> None:
    found = syslog.message(
        b"{}", time_ms=1_800_000_000_123, severity_id=3, origin="log example", kind="admin.account_locked"
    )
    head = "<108>1 2027-01-15T08:00:00.123Z log_example regalia - admin.account_locked - "
    assert found == head.encode() + b"\xef\xbb\xbf{}"
    assert syslog.framed(b"abc") == b"3 abc"
