"""What is to be found is found however it is cut: over chunks, escapes, tool arguments, choices, parts."""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.conftest import House
from policy.policy_kit import SECRET, arguments, chunk, cut, delta_in, pack, rail, request
from regalia.gateway.guard_outcome import PolicyBlocked
from regalia.policy.compiled import compile_document
from regalia.policy.detector import Resources
from regalia.policy.detectors import DETECTORS

pytestmark = pytest.mark.asyncio(loop_scope="module")
MARK = "⟦TEST_WORD⟧"


def deltas(sent: bytes, index: int = 0) -> str:
    """The text of one choice of a stream."""
    data = [event.removeprefix(b"data: ") for event in sent.split(b"\n\n")]
    return "".join(delta_in(json.loads(one), index) for one in data if one.startswith(b"{"))


@pytest.mark.parametrize("route", ["chat.completions", "completions", "responses"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_a_stream_cut_anywhere_says_what_the_whole_answer_says(
    house: House, route: str, data: st.DataObject
) -> None:
    filler = st.text("ab ⟦⟧é😀١", max_size=400)
    pieces = data.draw(st.lists(st.one_of(filler, st.sampled_from([SECRET, "⟦MINE_1⟧"])), max_size=6))
    text = "".join(pieces) or "nothing"
    places = data.draw(st.lists(st.integers(0, 5000), max_size=60))
    house.reset(rail("redact", "output"))
    house.engine.says = cut(text, places)
    client, error = await house.call(route, request(route, "Say.", stream=True))
    assert error is None
    assert client.text == text.replace(SECRET, MARK)
    found = text.count(SECRET)
    told = house.outcome["policy"]
    assert [one["counts"] for one in told["rails"]] == ([{"test.word": found}] if found else [])
    assert list(told["clear"]) == ([] if found else ["output"])
    whole = b"".join(client.steps)
    assert whole == client.sent


@pytest.mark.parametrize("route", ["chat.completions", "completions"])
async def test_choices_that_come_mixed_are_each_guarded(house: House, route: str) -> None:
    house.reset(rail("redact", "output"))
    texts = {0: f"first {SECRET} first", 1: "x" * 600, 2: f"{'y' * 300}{SECRET}{SECRET[:5]}"}
    order = random.Random(7)
    left = {index: list(text) for index, text in texts.items()}
    played: list[tuple[bytes, Any]] = []
    while any(left.values()):
        index = order.choice([index for index, rest in left.items() if rest])
        size = order.randint(1, 9)
        piece, left[index] = "".join(left[index][:size]), left[index][size:]
        played.append((b"", chunk(route, piece, index)))
    played += [(b"", chunk(route, "", index, finish="stop")) for index in texts]
    house.engine.events = played
    client, error = await house.call(route, request(route, "Say.", stream=True, n=3))
    assert error is None
    for index, text in texts.items():
        assert deltas(client.sent, index) == text.replace(SECRET, MARK)


async def test_a_block_in_one_choice_stops_all(house: House) -> None:
    house.reset(rail("block", "output"))
    house.engine.events = [
        (b"", chunk("chat.completions", "fine " * 100, 0)),
        (b"", chunk("chat.completions", SECRET[:6], 1)),
        (b"", chunk("chat.completions", SECRET[6:], 1)),
        (b"", chunk("chat.completions", "", 0, finish="stop")),
        (b"", chunk("chat.completions", "", 1, finish="stop")),
    ]
    client, error = await house.call("chat.completions", request("chat.completions", "Say.", True, n=2))
    assert isinstance(error, PolicyBlocked)
    assert SECRET[6:] not in client.sent.decode()
    assert not client.ended, "no clean end"


async def test_choices_of_a_whole_answer_are_each_guarded(house: House) -> None:
    house.reset(rail("redact", "output"))
    choices = [
        {
            "index": n,
            "message": {"role": "assistant", "content": f"{n} {SECRET}"},
            "logprobs": {"content": [SECRET]},
        }
        for n in range(3)
    ]
    house.engine.answers = [{"id": "c", "choices": choices}]
    client, _ = await house.call("chat.completions", request("chat.completions", "Say.", n=3))
    answer = json.loads(client.sent)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [f"{n} {MARK}" for n in range(3)]
    assert SECRET not in client.sent.decode(), "nor in the log probabilities"


def escaped(text: str) -> str:
    """A text as JSON escapes."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


async def test_escapes_on_the_wire_hide_nothing(house: House) -> None:
    house.reset(rail("redact", "output"))
    head = '{"id":"c","choices":[{"index":0,"finish_reason":null,"delta":{"content":"'
    pieces = [f'{head}{escaped(SECRET[:4])}"}}}}]}}', f'{head}{escaped(SECRET[4:])}"}}}}]}}']
    last = json.dumps(chunk("chat.completions", "", finish="stop"))
    house.engine.events = [(b"", piece.encode()) for piece in [*pieces, last]]
    client, error = await house.call("chat.completions", request("chat.completions", "Say.", stream=True))
    assert error is None
    assert client.text == MARK


async def test_escapes_that_the_model_writes_hide_nothing(house: House) -> None:
    house.reset(rail("redact", "output"))
    said = '{"name": "' + escaped(SECRET) + '"}'
    house.engine.says = cut(said, [9, 17, 23, 31, 44])
    client, _ = await house.call("chat.completions", request("chat.completions", "Say JSON.", stream=True))
    assert client.text == '{"name": "' + MARK + '"}'


@pytest.mark.parametrize("hidden", [SECRET, escaped(SECRET)])
async def test_arguments_of_tool_calls_that_come_in_pieces_are_guarded(house: House, hidden: str) -> None:
    house.reset(rail("redact", "tool_calls"))
    texts = {0: '{"to": "' + hidden + '", "n": 1}', 1: '{"q": "plain"}'}
    house.engine.events = [
        *[(b"", arguments(piece, 0)) for piece in cut(texts[0], [3, 11, 13, 19])],
        *[(b"", arguments(piece, 1)) for piece in cut(texts[1], [4])],
        (b"", chunk("chat.completions", "", finish="tool_calls")),
    ]
    client, _ = await house.call("chat.completions", request("chat.completions", "Call.", stream=True))
    said = {0: "", 1: ""}
    for event in client.sent.split(b"\n\n"):
        if event.startswith(b"data: {"):
            delta = json.loads(event[6:])["choices"][0]["delta"]
            for call in delta.get("tool_calls", ()):
                said[call["index"]] += call["function"]["arguments"]
    assert json.loads(said[0]) == {"to": MARK, "n": 1}
    assert said[1] == texts[1]


KENYAN = 28374655
KENYAN_IDS = {"use": "identifiers", "kinds": ["ke.id"]}


def watch_for_ids(house: House, action: str) -> None:
    """A rail on Kenyan identity numbers in tool calls."""
    house.reset(rail(action))
    document = pack({**rail(action, "tool_calls"), "detector": KENYAN_IDS})
    house.book.policy = compile_document(document, DETECTORS, Resources())


GIVEN = [
    ({"national_id": KENYAN, "n": 1}, {"national_id": "⟦KE_ID⟧", "n": 1}),
    ({"who": {"national_id_number": float(KENYAN)}}, {"who": {"national_id_number": "⟦KE_ID⟧"}}),
    ({"national_id": str(KENYAN), "id": "x"}, {"national_id": "⟦KE_ID⟧", "id": "x"}),
    ({"order": KENYAN, "index": KENYAN, "of": [KENYAN, 3]}, None),
]


@pytest.mark.parametrize(("given", "told"), GIVEN)
@pytest.mark.parametrize("streams", [False, True])
async def test_arguments_given_as_an_object_are_read_with_their_names(
    house: House, given: dict[str, Any], told: dict[str, Any] | None, streams: bool
) -> None:
    watch_for_ids(house, "redact")
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": given}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    house.engine.answers = [
        {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    ]
    said = {"id": "c", "choices": [{"index": 0, "finish_reason": None, "delta": {"tool_calls": [call]}}]}
    house.engine.events = [(b"", said), (b"", chunk("chat.completions", "", finish="tool_calls"))]
    client, error = await house.call("chat.completions", request("chat.completions", "Call.", stream=streams))
    assert error is None
    first = client.sent.split(b"\n\n")[0].removeprefix(b"data: ")
    choice = json.loads(first)["choices"][0]
    (passed,) = (choice["delta"] if streams else choice["message"])["tool_calls"]
    assert passed["function"]["arguments"] == (told or given)
    assert house.outcome["policy"]["decision"] == ("redact" if told else "allow")


@pytest.mark.parametrize("action", ["block", "flag"])
async def test_a_number_in_a_streamed_object_is_blocked_or_flagged(house: House, action: str) -> None:
    watch_for_ids(house, action)
    call = {"index": 0, "function": {"name": "f", "arguments": {"national_id": KENYAN}}}
    said = {"id": "c", "choices": [{"index": 0, "finish_reason": None, "delta": {"tool_calls": [call]}}]}
    house.engine.events = [(b"", said), (b"", chunk("chat.completions", "", finish="tool_calls"))]
    client, error = await house.call("chat.completions", request("chat.completions", "Call.", stream=True))
    assert isinstance(error, PolicyBlocked) == (action == "block")
    assert (str(KENYAN) in client.sent.decode()) == (action == "flag")
    assert house.outcome["policy"]["rails"][0]["counts"] == {"ke.id": 1}


async def test_what_the_tool_call_carries_is_put_back_as_json(house: House) -> None:
    quoted = 'a"b\\c\n'
    house.reset({**rail("redact"), "detector": {"use": "words", "options": {"words": {"test.word": quoted}}}})
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x":"⟦TEST_WORD_1⟧"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    house.engine.answers = [
        {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    ]
    client, _ = await house.call("chat.completions", request("chat.completions", f"Send {quoted}"))
    given = json.loads(client.sent)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(given) == {"x": quoted}


async def test_a_number_in_arguments_stays_json_when_it_is_redacted(house: House) -> None:
    house.reset({**rail("redact"), "detector": {"use": "words", "options": {"words": {"ke.id": "12345678"}}}})
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"id": 12345678}'}}
    messages = [
        {"role": "user", "content": "My number?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12345678"},
    ]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    await house.call("chat.completions", body)
    asked = house.engine.asked[0]["messages"]
    assert json.loads(asked[1]["tool_calls"][0]["function"]["arguments"]) == {"id": "⟦KE_ID_1⟧"}
    assert asked[2]["content"] == "⟦KE_ID_1⟧", "the same everywhere"


CHAT, RESPONSES = "chat.completions", "responses"
HI = {"messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "description": SECRET}}
HALVES = [{"type": "text", "text": SECRET[:4]}, {"type": "text", "text": SECRET[4:]}]
SAID_AND_REFUSED = [HALVES[0], {"type": "refusal", "refusal": SECRET[4:]}]
CALLED = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": json.dumps({"x": SECRET})}
PLACES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": [{"role": "user", "content": SECRET}]}),
    (CHAT, {"messages": [{"role": "system", "content": SECRET}, {"role": "user", "content": "hi"}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]}),
    (CHAT, {"messages": [{"role": "user", "content": HALVES}]}),
    (CHAT, {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": HALVES}]}),
    (CHAT, {"messages": [{"role": "assistant", "content": SAID_AND_REFUSED}]}),
    (CHAT, {"messages": [{"role": "user", "name": SECRET, "content": "hi"}]}),
    (CHAT, {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": SECRET}]}),
    (CHAT, {**HI, "tools": [TOOL]}),
    (CHAT, {**HI, "stop": [SECRET]}),
    (CHAT, {**HI, "user": SECRET}),
    (CHAT, {**HI, "metadata": {SECRET: "x"}}),
    (CHAT, {**HI, "of_tomorrow": {"deep": [{"er": SECRET}]}}),
    ("completions", {"prompt": ["one", SECRET]}),
    ("completions", {"prompt": "x", "suffix": SECRET}),
    (RESPONSES, {"input": SECRET}),
    (RESPONSES, {"input": "hi", "instructions": SECRET}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": SECRET}]}]}),
    (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "call_1", "output": SECRET}]}),
    (RESPONSES, {"input": [CALLED]}),
    ("embeddings", {"input": ["one", SECRET]}),
    ("tokenize", {"prompt": SECRET}),
    ("tokenize", {"messages": [{"role": "user", "content": SECRET}]}),
]


@pytest.mark.parametrize(("route", "fields"), PLACES)
async def test_wherever_a_request_holds_text_it_is_read_and_redacted(
    house: House, route: str, fields: dict[str, Any]
) -> None:
    house.reset(rail("redact"))
    house.engine.says = ["fine"]
    _, error = await house.call(route, json.dumps({"model": "m", **fields}).encode())
    assert error is None
    asked = json.dumps(house.engine.asked[0], ensure_ascii=False)
    assert SECRET not in asked
    assert SECRET[4:] not in asked
    assert "⟦TEST_WORD_1⟧" in asked


def part(content: dict[str, Any], field: str = "messages") -> dict[str, Any]:
    """A request whose one message has that one part."""
    return {field: [{"role": "user", "content": [content]}]}


UNREADABLE = [
    ("chat.completions", part({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})),
    ("chat.completions", part({"type": "input_audio", "input_audio": {"data": "AA"}})),
    ("completions", {"prompt": [1, 2, 3]}),
    ("completions", {"prompt": [[1], [2, 3]]}),
    ("responses", part({"type": "input_image", "image_url": "data:image/png;base64,AA"}, "input")),
]  # fmt: skip


@pytest.mark.parametrize(("route", "fields"), UNREADABLE)
async def test_what_no_rail_can_read_fails_the_rail(house: House, route: str, fields: dict[str, Any]) -> None:
    house.reset(rail("flag"))
    _, error = await house.call(route, json.dumps({"model": "m", **fields}).encode())
    assert isinstance(error, PolicyBlocked)
    assert house.outcome["policy"]["rails"][0]["failed"] == "unreadable"


async def test_what_came_from_tools_and_documents_is_retrieved_text(house: House) -> None:
    house.reset(rail("block", "retrieved"))
    body = {"model": "m", "messages": [{"role": "user", "content": SECRET}]}
    _, error = await house.call("chat.completions", json.dumps(body).encode())
    assert error is None
    body["messages"] = [{"role": "tool", "tool_call_id": "call_1", "content": SECRET}]
    _, error = await house.call("chat.completions", json.dumps(body).encode())
    assert isinstance(error, PolicyBlocked)
