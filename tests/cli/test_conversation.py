"""What was said in a call, as whoever was granted to read it sees it."""

import json
from typing import Any

import pytest

from regalia.cli.conversation import as_read

PARTS = [{"type": "text", "text": "Look: "}, {"type": "image_url", "image_url": {"url": "data:…"}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city":"Nairobi"}'}}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"messages": [{"role": "user", "content": "Where does it hurt?"}]}, "user: Where does it hurt?"),
        (
            {"messages": [{"role": "user", "content": PARTS}, {"role": "assistant", "tool_calls": [CALL]}]},
            'user: Look: [image_url]\nassistant: find{"city":"Nairobi"}',
        ),
        ({"instructions": "Be brief.", "input": "Hello"}, "instructions: Be brief.\nHello"),
        ({"input": [{"type": "function_call_output", "output": "12"}]}, "function_call_output: 12"),
        ({"prompt": ["one", "two"]}, "one\ntwo"),
        (
            {"choices": [{"message": {"content": "Here."}}, {"message": {"content": "There."}}]},
            "Here.\nThere.",
        ),
        ({"choices": [{"text": "Here."}]}, "Here."),
        ({"output": [{"content": [{"type": "output_text", "text": "Here."}]}]}, "Here."),
    ],
)
def test_requests_and_answers_are_read_as_their_words(document: dict[str, Any], said: str) -> None:
    assert as_read(json.dumps(document, ensure_ascii=False)) == said


def test_a_stream_is_read_as_one_text() -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("Na", "irobi", ".")]
    assert as_read("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)) == "Nairobi."
    deltas = [{"type": "response.output_text.delta", "delta": piece} for piece in ("Na", "irobi.")]
    events = "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in deltas)
    assert as_read(events) == "Nairobi."


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[1,2]", '{"of":"tomorrow"}', "data: nothing\n\n", "{" * 5000]
)
def test_what_has_no_words_stays_as_it_is(text: str) -> None:
    assert as_read(text) == text


def test_nothing_of_what_was_said_steers_the_readers_terminal_or_hides_from_them() -> None:
    said = json.dumps({"prompt": "a\x1b[2J\u202eb\U000e0041\u200d\tc\nd"})
    assert as_read(said) == "a\\x1b[2J\\u202eb\\U000e0041\u200d\tc\nd"
