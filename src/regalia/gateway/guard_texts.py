"""Where a request and an answer hold text: every string of the document, but for what only steers.

Nothing is looked up by name, so a field that nobody thought of is read like any other. The text parts of one
message are one text, because the model reads them as one. Walking is iterative: depth costs no stack.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from regalia.policy.redact import Edit, rewrite
from regalia.policy.scan import Text

INPUT = frozenset({"input"})
RETRIEVED = frozenset({"input", "retrieved"})
INPUT_CALLS = frozenset({"input", "tool_calls"})
OUTPUT = frozenset({"output"})
OUTPUT_CALLS = frozenset({"output", "tool_calls"})
BOTH = frozenset({"input", "output"})

_STEERS = frozenset({
    "role", "type", "object", "id", "model", "encoding_format", "finish_reason", "status", "detail",
    "tool_call_id", "call_id", "item_id", "tool_choice", "system_fingerprint", "service_tier", "effort",
    "format", "strict",
})  # fmt: skip
_STEERING = re.compile(r"[A-Za-z][A-Za-z_.:/-]{0,63}|[A-Za-z][A-Za-z0-9]{0,15}[_-][A-Za-z0-9_-]{1,64}")
_MEDIA = frozenset({
    "image_url", "input_audio", "audio", "audio_url", "video_url", "image", "image_data", "file_data", "file",
    "file_id", "file_url", "multimodal_data",
})  # fmt: skip
_NUMBERS = frozenset({"logprobs", "top_logprobs", "usage", "timings", "embedding", "tokens", "logit_bias"})
_FIELDS = _STEERS | _MEDIA | _NUMBERS | frozenset({
    "messages", "content", "prompt", "input", "instructions", "stream", "stream_options", "include_usage",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "seed",
    "stop", "user", "tools", "function", "name", "description", "parameters", "properties", "required",
    "text", "arguments", "tool_calls", "choices", "index", "message", "delta", "created", "response_format",
    "json_schema", "schema", "presence_penalty", "frequency_penalty", "metadata", "output", "data", "error",
    "code", "param", "refusal", "reasoning_content", "annotations", "additionalProperties", "enum", "items",
    "safety_identifier",
})  # fmt: skip
"""Names of the API's own, which are not text."""

_FIELD, _STEER, _MEDIUM, _NUMBER = range(4)
_MEANING = (
    dict.fromkeys(_FIELDS, _FIELD)
    | dict.fromkeys(_STEERS, _STEER)
    | dict.fromkeys(_MEDIA, _MEDIUM)
    | dict.fromkeys(_NUMBERS, _NUMBER)
)
"""What a key says of its value, in one look."""

_STEERED = frozenset({
    "user", "assistant", "system", "developer", "tool", "function", "chat.completion", "text_completion",
    "chat.completion.chunk", "list", "text", "input_text", "output_text", "message", "stop", "length",
    "tool_calls", "function_call", "response", "completed", "in_progress", "embedding", "float", "auto",
})  # fmt: skip
"""Values that steer, and are in nearly every call."""

_CALLS = frozenset({"tool_calls", "function_call"})
Node = tuple[Any, frozenset[str], bool]


class Leaf:
    """A string of the document: `node[key]`, or a key itself where `named`; it begins `at` of its text."""

    __slots__ = ("at", "key", "named", "node")

    def __init__(self, node: Any, key: Any, at: int = 0, named: bool = False) -> None:
        self.node = node
        self.key = key
        self.at = at
        self.named = named


class Found:
    """The texts of a document, and where each of them stands."""

    __slots__ = ("leaves", "texts")

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.leaves: list[list[Leaf]] = []

    def add(self, text: str, sides: frozenset[str], *leaves: Leaf) -> None:
        """A text that can be read."""
        self.texts.append(Text(text, sides))
        self.leaves.append(list(leaves))

    def add_unreadable(self, sides: frozenset[str]) -> None:
        """Something that the model is given, or gives, and no rail can read."""
        self.texts.append(Text("", sides, readable=False))
        self.leaves.append([])

    def spells_json(self, number: int) -> bool:
        """Whether a text is JSON itself: the arguments of a tool call."""
        return [leaf.key for leaf in self.leaves[number]] == ["arguments"]

    def apply(self, edits: Mapping[int, Sequence[Edit]]) -> None:
        """Make the edits, by the texts' numbers, in the document."""
        for number in sorted(edits, reverse=True):  # values before their keys
            self._apply(number, edits[number])

    def _apply(self, number: int, edits: Sequence[Edit]) -> None:
        for leaf in self.leaves[number]:
            if leaf.named:
                renamed = rewrite(leaf.key, edits, leaf.at)
                items = [(renamed if key == leaf.key else key, value) for key, value in leaf.node.items()]
                leaf.node.clear()
                leaf.node.update(items)
            else:
                leaf.node[leaf.key] = rewrite(leaf.node[leaf.key], edits, leaf.at)


def texts_in(document: Any, sides: frozenset[str], calls: frozenset[str]) -> Found:
    """Every text in a document; `calls` are the sides of tool calls' arguments in it."""
    found = Found()
    stack: list[Node] = [(document, sides, False)]
    while stack:
        node = stack.pop()
        if type(node[0]) is list:
            _walk_list(found, stack, *node)
        elif type(node[0]) is dict:
            _walk_object(found, stack, calls, *node)
    return found


def _walk_list(found: Found, stack: list[Node], node: list[Any], here: frozenset[str], joined: bool) -> None:
    for number, value in enumerate(node):
        if type(value) is str:
            if value:
                found.add(value, here, Leaf(node, number))
        elif type(value) is dict or type(value) is list:
            stack.append((value, here, joined))


def _walk_object(
    found: Found,
    stack: list[Node],
    calls: frozenset[str],
    node: dict[str, Any],
    here: frozenset[str],
    joined: bool,
) -> None:
    """Where `joined`, the object is a part of a message that has told its text already."""
    here = _sides(node, here, calls)
    parts = node.get("content")
    joins = type(parts) is list and "role" in node and _join(found, parts, here)
    for key, value in node.items():
        meaning = _MEANING.get(key)
        if meaning is None and len(key) > 3:
            found.add(key, here, Leaf(node, key, named=True))
        kind = type(value)
        if meaning == _MEDIUM and value:
            found.add_unreadable(here)
        elif kind is str:
            if (
                value
                and not (joined and key == "text")
                and not (meaning == _STEER and (value in _STEERED or _STEERING.fullmatch(value)))
            ):
                found.add(value, here, Leaf(node, key))
        elif (kind is dict or kind is list) and meaning != _NUMBER:
            stack.append((value, _beneath(key, here, calls), joins and key == "content"))


def _beneath(key: str, here: frozenset[str], calls: frozenset[str]) -> frozenset[str]:
    """On which sides stands what is under a key."""
    if key in _CALLS:
        return calls
    return RETRIEVED if key == "documents" and "input" in here else here


def sides_of(texts: Sequence[Text]) -> frozenset[str]:
    """All sides on which any of the texts stands."""
    sides = texts[0].sides if texts else frozenset()
    for text in texts:
        if text.sides is not sides:
            sides |= text.sides
    return sides


def steers(key: Any, value: str) -> bool:
    """Whether a string only steers: a role, a type, an id."""
    return key in _STEERS and (value in _STEERED or _STEERING.fullmatch(value) is not None)


def _sides(node: dict[str, Any], here: frozenset[str], calls: frozenset[str]) -> frozenset[str]:
    """On which sides a node's own texts stand."""
    role, kind = node.get("role"), node.get("type")
    if "input" in here and (role in ("tool", "function") or kind in ("function_call_output", "tool_result")):
        return RETRIEVED
    if kind in ("function_call", "custom_tool_call") and "call_id" in node:
        return calls
    return here


def _join(found: Found, parts: list[Any], here: frozenset[str]) -> bool:
    """The text parts of one message as one text; False where they are no parts."""
    leaves, pieces, at = [], [], 0
    for part in parts:
        if type(part) is not dict:
            return False
        text = part.get("text")
        if type(text) is str:
            leaves.append(Leaf(part, "text", at))
            pieces.append(text)
            at += len(text)
    if at:
        found.add("".join(pieces), here, *leaves)
    return True


def holds_ids(prompt: Any) -> bool:
    """Whether a prompt gives token ids, which say a text that rails can't read."""
    return type(prompt) is list and any(type(item) is int or type(item) is list for item in prompt)
