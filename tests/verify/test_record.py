"""Records: canonical JSON that agrees with an independent encoder, fields per kind, commitments."""

import hashlib
import json
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from regalia_verify.errors import FormatError
from regalia_verify.record import (
    FIELDS,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_RECORD,
    OUTCOMES,
    canonical,
    commit,
    parse,
    parse_canonical,
)
from verify.paper_log import DIGEST, PaperCall, admitted, answered, call_id, event, sample_log, seed

keys = st.text(st.characters(max_codepoint=0x7F), max_size=8)
plain = st.recursive(
    st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_canonical_json_agrees_with_rfc8785_and_round_trips(value: Any) -> None:
    encoded = canonical(value)
    assert encoded == rfc8785.dumps(value)
    assert parse_canonical(encoded) == value


@given(plain)
def test_msgspec_s_sorted_encoding_is_the_same(value: Any) -> None:
    assert msgspec.json.Encoder(order="sorted").encode(value) == canonical(value)


@given(plain, st.data())
def test_what_parses_is_its_only_spelling(value: Any, data: st.DataObject) -> None:
    text = bytearray(canonical(value))
    position = data.draw(st.integers(0, len(text) - 1))
    text[position : position + data.draw(st.integers(0, 1))] = data.draw(st.binary(min_size=1, max_size=2))
    try:
        parsed = parse_canonical(bytes(text))
    except FormatError:
        return
    assert canonical(parsed) == bytes(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" {}",
        b"{} ",
        b"{}\n",
        b"{}{}",
        b'{"a": 1}',
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":01}',
        b'{"a":-0}',
        b'{"a":+1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":1E400}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":true}',
        b'{"a":false}',
        b'{"a":null}',
        b"null",
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u000A"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\n"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        b"{'a':1}",
        b'{"a":1,}',
        '{"é":1}'.encode(),
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)
def test_other_json_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_canonical(text)


@pytest.mark.parametrize(
    "value", [1.5, True, None, {"a": None}, [2**53], {"é": 1}, "\ud800", b"bytes", {"a": {1}}]
)
def test_what_is_not_plain_is_not_encoded(value: Any) -> None:
    with pytest.raises(FormatError):
        canonical(value)


def sample_call() -> PaperCall:
    """A call to make records of."""
    return sample_log(1).calls[0]


def samples() -> dict[str, dict[str, Any]]:
    """A well-formed record of every kind."""
    call = sample_call()
    answer = answered(call, seed("x").hex())
    failed = {name: value for name, value in answer.items() if name not in {"response", "tokens"}}
    records = {kind: event(kind) for kind in FIELDS}
    records |= {
        "log.opened": event("log.opened", origin="o", software="s", keys=["a", "b"]),
        "log.root_added": event("log.root_added", origin="o", root=["a", "b"]),
        "log.key_rotated": event(
            "log.key_rotated", origin="o", keys=["a", "b"], signatures={"log": ["c"], "root": []}
        ),
        "call.admitted": admitted(call),
        "call.answered": answer,
        "call.refused": failed | {"kind": "call.refused", "error": "policy"},
        "call.failed": failed | {"kind": "call.failed", "error": "engine_died"},
        "call.cancelled": failed | {"kind": "call.cancelled"},
        "call.aborted": event("call.aborted", call=call.id, admitted=seed("x").hex(), reason="crash"),
        "model.registered": event("model.registered", name="m", digest=DIGEST),
        "model.retired": event("model.retired", name="m", digest="unknown"),
        "engine.started": event(
            "engine.started",
            engine="e",
            model={"name": "m", "digest": DIGEST},
            build="b",
            digest=DIGEST,
            isolation="n",
        ),
        "engine.stopped": event("engine.stopped", engine="e", reason="drained"),
        "admin.key_created": event("admin.key_created", role="auditor", expires=5),
    }
    return records


@pytest.mark.parametrize("kind", [*FIELDS, "admin.key_created"])
def test_every_kind_is_read_and_its_fields_are_demanded(kind: str) -> None:
    record = samples()[kind]
    assert parse(canonical(record)) == record
    assert parse(canonical(record | {"zz_later": "field"}))["zz_later"] == "field"
    required = {"v", "kind", "time", *FIELDS.get(kind, ("", ""))[0].split()}
    for name in required:
        with pytest.raises(FormatError):
            parse(canonical({field: value for field, value in record.items() if field != name}))
    for name in required - {"kind"}:
        with pytest.raises(FormatError):
            parse(canonical(record | {name: {"neither": [1]} if name == "finish" else [{}]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", 2),
        ("v", "1"),
        ("kind", "call.forgotten"),
        ("kind", "admin."),
        ("kind", "admin.Key"),
        ("kind", 7),
        ("time", -1),
        ("time", "2026"),
        ("call", "call_" + "0" * 25),
        ("call", "call_" + "u" * 26),  # not in Crockford's alphabet
        ("call", "CALL_" + "0" * 26),
        ("call", call_id(1) + "\n"),
        ("admitted", "0" * 63),
        ("admitted", "A" * 64),
        ("project", "0" * 33),
        ("request", "g" * 64),
        ("response", 5),
        ("tokens", ""),
        ("model", "smollm2"),
        ("model", {"name": "m"}),
        ("model", {"name": "m", "digest": "sha256:" + "A" * 64}),
        ("engine", {"name": "e", "build": "b", "digest": "md5:0"}),
        ("sampling", "seed"),
        ("policy", {"version": 1, "decision": "allow"}),
        ("usage", {"input": 1, "output": -1, "total": 0}),
        ("usage", {"input": 1}),
        ("finish", "stop"),
        ("finish", [1]),
        ("status", "200"),
        ("error", 5),
    ],
)
def test_malformed_fields_are_refused(name: str, value: Any) -> None:
    record = answered(sample_call(), seed("x").hex())
    with pytest.raises(FormatError):
        parse(canonical(record | {name: value}))


def test_a_record_is_an_object_of_bounded_size() -> None:
    with pytest.raises(FormatError, match="not a JSON object"):
        parse(b"[]")
    fill = event("admin.note", text="")
    largest = fill | {"text": "x" * (MAX_RECORD - len(canonical(fill)))}
    assert len(canonical(largest)) == MAX_RECORD
    parse(canonical(largest))
    with pytest.raises(FormatError, match="longer than"):
        parse(canonical(largest | {"text": largest["text"] + "x"}))


def test_the_outcomes() -> None:
    assert sorted(OUTCOMES) == [
        f"call.{end}" for end in ("aborted", "answered", "cancelled", "failed", "refused")
    ]


def test_a_commitment_by_hand() -> None:
    salt = bytes(range(32))
    message = b"regalia/commitment/v1\0request\0" + salt + b"\0\0\0\0\0\0\0\x05" + b"hello"
    assert commit("request", salt, b"hello") == hashlib.sha256(message).hexdigest()


@given(
    st.sampled_from(["request", "response", "tokens"]),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=80),
    st.sampled_from(["request", "response", "tokens"]),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=80),
)
def test_commitments_differ_wherever_anything_differs(
    part: str, salt: bytes, content: bytes, other_part: str, other_salt: bytes, other_content: bytes
) -> None:
    same = (part, salt, content) == (other_part, other_salt, other_content)
    assert (commit(part, salt, content) == commit(other_part, other_salt, other_content)) is same


@pytest.mark.parametrize(("part", "salt"), [("prompt", bytes(32)), ("request", bytes(31)), ("request", b"")])
def test_a_commitment_needs_a_known_part_and_a_whole_salt(part: str, salt: bytes) -> None:
    with pytest.raises(ValueError, match="commitment"):
        commit(part, salt, b"")


def test_python_s_own_json_reads_what_we_write() -> None:
    record = samples()["call.answered"]
    assert json.loads(canonical(record)) == record
