"""What was said in a call, as a person reads it: who said what, and nothing of the protocol around it.

Characters that would steer the reader's terminal, or can't be seen, are shown as `\\x1b` or `\\u202e`: what
is read was written by somebody whom the reader may be looking into.
"""

import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec

_DATA = "data: "
_UNSEEN = frozenset({"Cc", "Cf"})
_NEEDED = frozenset("\n\t\u200c\u200d")


def as_read(text: str) -> str:
    """A request or an answer, whole or streamed, as its words. What has none stays as it is, but visible."""
    if text.startswith((_DATA, "event: ")):
        return visible("".join(_of_stream(text)).strip() or text)
    document = _decoded(text)
    said = "\n".join(_of_request(document) or _of_answer(document)) if type(document) is dict else ""
    return visible(said or text)


def visible(text: str) -> str:
    """The text with an escape in place of each control or format character, but for line ends and joiners."""
    return "".join(_escaped(one) if unicodedata.category(one) in _UNSEEN else one for one in text)


def _escaped(character: str) -> str:
    return character if character in _NEEDED else ascii(character)[1:-1]


def _of_request(document: dict[str, Any]) -> list[str]:
    told = []
    if type(document.get("instructions")) is str:
        told.append(f"instructions: {document['instructions']}")
    for name in ("messages", "input", "prompt"):
        told += _turns(document.get(name))
    return told


def _turns(given: Any) -> list[str]:
    """A conversation's turns, each with who says it; a text alone; texts of a list."""
    told = []
    for turn in [given] if type(given) is str else given if type(given) is list else []:
        if type(turn) is not dict:
            told.append(str(turn))
            continue
        who = turn.get("role") or turn.get("type")
        said = [_text(turn.get("content")), _calls(turn), _text(turn.get("output"))]
        told.append(f"{who}: {' '.join(text for text in said if text)}")
    return told


def _of_answer(document: dict[str, Any]) -> list[str]:
    told = []
    for choice in _objects(document.get("choices")):
        message = _object(choice.get("message"))
        told += [_text(message.get("content")), _calls(message), _text(choice.get("text"))]
    for item in _objects(document.get("output")):
        told += [_text(item.get("content")), _calls(item)]
    return [text for text in told if text]


def _of_stream(text: str) -> Iterator[str]:
    """The pieces of a stream; a further choice begins in a line of its own."""
    last = 0
    for line in text.split("\n"):
        event = _decoded(line.removeprefix(_DATA)) if line.startswith(_DATA) else None
        if type(event) is not dict:
            continue
        if event.get("type") == "response.output_text.delta":
            yield str(event.get("delta", ""))
        for choice in _objects(event.get("choices")):
            if choice.get("index", 0) != last:
                last = choice.get("index", 0)
                yield "\n"
            delta = _object(choice.get("delta"))
            yield _text(delta.get("content")) + _calls(delta) + _text(choice.get("text"))


def _text(content: Any) -> str:
    """A message's text, its parts as one; what is no text by its type."""
    if type(content) is list:
        parts = [part if type(part) is dict else {"text": part} for part in content]
        return "".join(str(part.get("text") or f"[{part.get('type')}]") for part in parts)
    return content if type(content) is str else ""


def _calls(message: dict[str, Any]) -> str:
    """The tool calls of a message."""
    calls = [_object(call.get("function")) for call in _objects(message.get("tool_calls"))]
    if message.get("type") == "function_call":
        calls.append(message)
    return "".join(f"{call.get('name') or ''}{call.get('arguments') or ''}" for call in calls)


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; whatever else was sent in their place is none."""
    return [item for item in value if type(item) is dict] if type(value) is list else []


def _object(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
