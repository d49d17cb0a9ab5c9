"""Placeholders are put back in streams as in whole answers: at once, and however the stream is cut."""

import json
import re
import unicodedata
from string import ascii_uppercase, digits
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.conftest import House
from policy.policy_kit import (
    PRINCIPAL,
    SECRET,
    OnePolicy,
    Queue,
    arguments,
    chunk,
    compiled,
    cut,
    delta_in,
    on_record,
    rail,
    request,
)
from regalia.gateway.guard import Guard
from regalia.gateway.guard_stream import StreamGuard

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = "chat.completions"


async def test_a_placeholder_of_the_callers_own_is_never_given_out(house: House) -> None:
    house.reset(rail("redact"))
    house.engine.says = ["⟦TEST_WORD_1⟧ and ⟦TEST_", "WORD_2⟧ and ⟦TEST_WORD_3⟧"]
    text = f"I write ⟦TEST_WORD_1⟧ myself. {SECRET}"
    client, _ = await house.call("chat.completions", request("chat.completions", text, stream=True))
    assert house.engine.asked[0]["messages"][0]["content"] == "I write ⟦TEST_WORD_1⟧ myself. ⟦TEST_WORD_2⟧"
    assert client.text == f"⟦TEST_WORD_1⟧ and {SECRET} and ⟦TEST_WORD_3⟧"


SAID_BARE = [
    "TEST_WORD_1",
    "⟦TEST_WORD_1⟧",
    "⟦TEST_WORD_1",
    "TEST_WORD_1⟧",
    "TEST_WORD_10",
    "TEST_WORD_2",
    "TEST_",
]
LETTERS = ["nya", "号", "ـ", "ின்", "É", "\\u0645", "\\u00E9", "\\u27e6", "\\u27e7", "\\u2", "\\"]
BESIDE = st.one_of(st.text('ab_1T⟦⟧ .n\\"é\u0301{}٢²', max_size=5), st.sampled_from(LETTERS))
RAILS_BESIDE = [
    [],
    [rail("block", "output", detector={"use": "words", "options": {"words": {"a.b": "nobody says"}}})],
]


def restored_slowly(text: str) -> str:
    """A text with the placeholder put back, by a rule of its own that looks at one place after another."""
    name = "TEST_WORD_1"

    def may_go_on(at: int) -> bool:
        """Whether a name may go on there, from either side."""
        return 0 <= at < len(text) and (text[at] in ascii_uppercase + digits + "_")

    def opened(at: int) -> int:
        """How long the bracket is that opens there."""
        slashes = re.search(r"\\*$", text[:at])
        unescaped = slashes is None or len(slashes[0]) % 2 == 0
        if unescaped and text[at : at + 6].lower() == "\\u27e6":
            return 6
        return int(text.startswith("⟦", at))

    told, at = "", 0
    while at < len(text):
        begins = at + opened(at)
        ends = begins + len(name)
        closed = ends + text.startswith("⟧", ends)
        if text[ends : ends + 6].lower() == "\\u27e7":
            closed = ends + 6
        behind_escape = re.search(r"\\u[0-9a-fA-F]{4}$", text[:begins])
        alone = begins > at or behind_escape or not may_go_on(at - 1)
        counts_on = ends < len(text) and unicodedata.category(text[ends])[0] == "N"
        if text.startswith(name, begins) and alone and (closed > ends or not (may_go_on(ends) or counts_on)):
            told, at = told + SECRET, closed
        else:
            told, at = told + text[at], at + 1
    return told


@pytest.mark.parametrize("beside", RAILS_BESIDE)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pieces=st.lists(st.one_of(BESIDE, st.sampled_from(SAID_BARE)), max_size=12),
    places=st.lists(st.integers(0, 300), max_size=40),
)
async def test_a_placeholder_without_brackets_is_put_back_however_it_is_cut(
    house: House, beside: list[Any], pieces: list[str], places: list[int]
) -> None:
    text = "".join(pieces) or "nothing"
    told = restored_slowly(text)
    house.reset(rail("redact"), *beside)
    house.engine.says = cut(text, places)
    client, error = await house.call(CHAT, request(CHAT, SECRET, stream=True))
    assert error is None
    assert client.text == told
    client, error = await house.call(CHAT, request(CHAT, SECRET))
    assert error is None
    assert client.text == told, "nor does it matter whether it is a stream"


async def test_a_long_name_within_a_longer_word_is_left_in_a_stream_too(house: House) -> None:
    word = "test." + "long" * 10
    house.reset({**rail("redact"), "detector": {"use": "words", "options": {"words": {word: SECRET}}}})
    name = f"TEST_{'LONG' * 10}_1"
    house.engine.says = list(f"X{name} {name}nya")
    client, error = await house.call(CHAT, request(CHAT, SECRET, stream=True))
    assert error is None
    assert client.text == f"X{name} {SECRET}nya"


async def test_text_leaves_as_soon_as_it_can_be_no_placeholder() -> None:
    book = OnePolicy()
    book.policy = compiled(rail("redact"))
    guard = Guard(book, Queue()).of(CHAT, PRINCIPAL, json.loads(request(CHAT, SECRET, stream=True)))
    assert guard is not None
    await guard.enter("call_1", 1, 100, on_record).check_input()
    checked = StreamGuard(guard)
    pieces = [
        "号",
        "TEST_",
        "WORD_1",
        "0 ",
        "TEST_WORD_1",
        "nya ",
        "XTEST_",
        "WORD_1",
        "⟧ ",
        "⟦TEST_WORD_1",
        "⟧",
    ]
    left = [await checked.feed(b"", json.dumps(chunk(CHAT, piece)).encode()) for piece in pieces]
    told = ["".join(delta_in(json.loads(event[6:])) for event in events) for events in left]
    assert told == [
        "号", "", "", "TEST_WORD_10 ", "", f"{SECRET}nya ", "XTEST_", "WORD_1", "⟧ ", "", SECRET,
    ]  # fmt: skip


QUOTED = 'a"b\\c\n'
TOLD_IN_JSON = [
    "nya ",
    "号",
    '"',
    "\\",
    "\n",
    "é",
    "x" * 60,
    "TEST_WORD_12",
    "⟦TEST_WORD_1⟧",
    " TEST_WORD_1 ",
]


def quoting(house: House) -> None:
    """A rail that redacts a text which JSON must escape."""
    house.reset({**rail("redact"), "detector": {"use": "words", "options": {"words": {"test.word": QUOTED}}}})


async def arguments_given(house: House, said: str, places: list[int]) -> str:
    """The arguments of a tool call as the caller gets them, when the engine gives them in these pieces."""
    house.engine.events = [
        *[(b"", arguments(piece)) for piece in cut(said, places)],
        (b"", chunk(CHAT, "", finish="tool_calls")),
    ]
    client, error = await house.call(CHAT, request(CHAT, f"Send {QUOTED}", stream=True))
    assert error is None
    told = ""
    for event in client.sent.split(b"\n\n"):
        if event.startswith(b"data: {"):
            delta = json.loads(event[6:])["choices"][0]["delta"]
            told += "".join(call["function"]["arguments"] for call in delta.get("tool_calls", ()))
    return told


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.integers(0, 60), max_size=30))
async def test_in_arguments_of_tool_calls_it_is_put_back_as_json(house: House, places: list[int]) -> None:
    quoting(house)
    said = '{"x": "to\\nTEST_WORD_1", "y": TEST_WORD_1, "z": "TEST_WORD_12"}'
    told = await arguments_given(house, said, places)
    assert json.loads(told) == {"x": f"to\n{QUOTED}", "y": QUOTED, "z": "TEST_WORD_12"}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pieces=st.lists(st.sampled_from(TOLD_IN_JSON), max_size=12),
    places=st.lists(st.integers(0, 600), max_size=60),
    ascii_only=st.booleans(),
)
async def test_json_of_any_spelling_stays_json_however_it_is_cut(
    house: House, pieces: list[str], places: list[int], ascii_only: bool
) -> None:
    quoting(house)
    text = " ".join(pieces)
    said = json.dumps({"x": text}, ensure_ascii=ascii_only)
    told = await arguments_given(house, said, places)
    restored = re.sub("⟦TEST_WORD_1⟧|TEST_WORD_1(?!2)", lambda _: QUOTED, text)
    assert json.loads(told) == {"x": restored}
