"""A demanded tool call, asked for as JSON and given back as the call it says."""

import json
from typing import Any

import pytest

from regalia.engines.llama_tools import ToolChunks, as_schema, forces_tool, with_tool_call

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
SAID = '{"name": "weather", "arguments": {"city": "Nairobi"}}'


def request(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], "tools": [WEATHER, CLOCK], **fields}


@pytest.mark.parametrize(
    ("fields", "forced"),
    [
        ({"tool_choice": "required"}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, True),
        ({"tool_choice": "auto"}, False),
        ({"tool_choice": "none"}, False),
        ({}, False),
        ({"tool_choice": "required", "tools": []}, False),
        ({"tool_choice": "required", "tools": [{"type": "other"}]}, False),
    ],
)
def test_only_a_demanded_call_is_forced(fields: dict[str, Any], forced: bool) -> None:
    assert forces_tool(request(**fields)) is forced


def test_the_schema_allows_each_function_or_only_the_named_one() -> None:
    any_of = as_schema(request(tool_choice="required"))["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [shape["properties"]["name"]["const"] for shape in any_of] == ["weather", "clock"]
    named = {"type": "function", "function": {"name": "clock"}}
    schema = as_schema(request(tool_choice=named))["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"]["const"] == "clock"


def test_the_clients_document_stays_as_it_is() -> None:
    document = request(tool_choice="required")
    before = json.dumps(document)
    asked = as_schema(document)
    assert json.dumps(document) == before
    assert "tools" not in asked
    assert asked["messages"][1:] == document["messages"]


def test_what_the_answer_says_is_its_tool_call() -> None:
    answer = {"id": "a", "choices": [{"index": 0, "message": {"content": SAID}, "finish_reason": "stop"}]}
    choice = with_tool_call(answer)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Nairobi"}'}


def test_a_call_that_was_cut_off_stays_text() -> None:
    answer = {
        "id": "a",
        "choices": [{"index": 0, "message": {"content": SAID[:20]}, "finish_reason": "length"}],
    }
    assert with_tool_call(json.loads(json.dumps(answer))) == answer


def test_a_stream_gives_the_call_with_its_last_chunk() -> None:
    tools = ToolChunks()
    sent = []
    for text, finish in ((SAID[:9], None), (SAID[9:], None), ("", "stop")):
        chunk = {"id": "a", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
        tools.take(chunk)
        sent.append(chunk["choices"][0])
    assert all("content" not in choice["delta"] for choice in sent[:2])  # type: ignore[index]
    last: Any = sent[2]
    assert last["finish_reason"] == "tool_calls"
    assert last["delta"]["tool_calls"][0]["index"] == 0
