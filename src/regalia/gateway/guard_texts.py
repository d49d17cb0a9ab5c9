"""Where a request and an answer hold text: every string of the document, but for what only steers.

Nothing is looked up by name, so a field that nobody thought of is read like any other, with its name before
it: the model, which sees both, may know by the name what the value is. So are long numbers. The text parts of
one message are one text, because the model reads them as one; where a part ends in the middle of a word they
are read with a line between them, too, because engines put one there. Walking is iterative: depth costs no
stack.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from regalia.policy.redact import Edit, merged, rewrite
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
_WORDS = re.compile(r"[A-Za-z][A-Za-z_.:/-]{0,63}")
_IDENTS = frozenset({"id", "model", "tool_call_id", "call_id", "item_id", "system_fingerprint"})
_IDENT = re.compile(rf"{_WORDS.pattern}|[A-Za-z][A-Za-z0-9]{{0,15}}[_-][A-Za-z0-9_-]{{1,64}}")
_CALLERS = _IDENTS - {"model", "system_fingerprint"}
_TELLING = re.compile("[0-9][0-9_-]{5}")
"""So many digits in an id of the caller's own may identify a person, and templates show such ids."""
MEDIA = frozenset({
    "image_url", "input_audio", "audio", "audio_url", "video_url", "image", "image_data", "file_data", "file",
    "file_id", "file_url", "multimodal_data", "multi_modal_data", "video", "video_data", "audio_data",
    "image_embeds", "audio_embeds",
})  # fmt: skip
_NUMBERS = frozenset({"logprobs", "top_logprobs", "usage", "timings", "embedding", "tokens", "logit_bias"})
FIELDS = _STEERS | MEDIA | _NUMBERS | frozenset({
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
    dict.fromkeys(FIELDS, _FIELD)
    | dict.fromkeys(_STEERS, _STEER)
    | dict.fromkeys(MEDIA, _MEDIUM)
    | dict.fromkeys(_NUMBERS, _NUMBER)
)
"""What a key says of its value, in one look."""

_STEERED = frozenset({
    "user", "assistant", "system", "developer", "tool", "function", "chat.completion", "text_completion",
    "chat.completion.chunk", "list", "text", "input_text", "output_text", "message", "stop", "length",
    "tool_calls", "function_call", "response", "completed", "in_progress", "embedding", "float", "auto",
})  # fmt: skip
"""Values that steer, and are in nearly every call."""

_SHAPES = dict.fromkeys(_STEERS, _WORDS) | dict.fromkeys(_IDENTS, _IDENT) | {"role": re.compile("(?!)")}
"""The shape of other values that steer, by their names. A role of one's own is read: models are shown it."""

_PARTS = frozenset({"content", "output", "summary"})
"""Under these a list holds the parts of one message, or of what a tool or a train of thought gave."""

_SAID = ("text", "refusal")
"""Under these a part holds what the model reads."""

_SEALED = "encrypted_content"
"""An earlier train of thought, which only the engine can open."""

_SHOWN = re.compile("image|audio|video|file|document|media|embed|pdf", re.IGNORECASE)
"""The types of parts that are more than text, however they carry it: by a link, or by an id from before."""

COUNTED = frozenset({"seed", "created", "index", "logit_bias"})
"""Names of the API's own whose large numbers no model reads."""

_CALLS = frozenset({"tool_calls", "function_call"})
_TOLD = frozenset({"input", "tool_calls"})
"""Where names of the API's own may be names of a caller's or of a tool's."""
_TOOLS = ("tool", "function")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
LONG = 10**6
"""A number from here on may identify a person: it is read. Token ids are smaller."""

Node = tuple[Any, frozenset[str], bool]


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """A string of the document: `node[key]`, or a key itself where `named`; it begins `at` of its text."""

    node: Any
    key: Any
    at: int = 0
    named: bool = False


class Found:
    """The texts of a document, and where each of them stands."""

    __slots__ = ("_again", "leaves", "texts")

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.leaves: list[tuple[Leaf, ...]] = []
        self._again: dict[int, int] = {}

    def add_lines(self, pieces: Sequence[str], sides: frozenset[str]) -> None:
        """The text that was added last once more, as lines; what is found there is edited in the text."""
        at, leaves = 0, []
        for piece, leaf in zip(pieces, self.leaves[-1], strict=True):
            leaves.append(Leaf(leaf.node, leaf.key, at))
            at += len(piece) + 1
        self._again[len(self.texts)] = len(self.texts) - 1
        self.add("\n".join(pieces), sides, *leaves)

    def add(self, text: str, sides: frozenset[str], *leaves: Leaf) -> None:
        """A text that can be read."""
        self.texts.append(Text(text, sides))
        self.leaves.append(leaves)

    def add_unreadable(self, sides: frozenset[str]) -> None:
        """Something that the model is given, or gives, and no rail can read."""
        self.texts.append(Text("", sides, readable=False))
        self.leaves.append(())

    def spells_json(self, number: int) -> bool:
        """Whether a text is JSON itself: the arguments of a tool call."""
        return [leaf.key for leaf in self.leaves[number]] == ["arguments"]

    def apply(self, edits: Mapping[int, Sequence[Edit]]) -> None:
        """Make the edits, by the texts' numbers, in the document."""
        made = dict(edits)
        for lines, joined in self._again.items():
            if lines in made:
                moved = self._without_breaks(lines, made.pop(lines))
                made[joined] = merged([*made.get(joined, ()), *moved])
        for number in sorted(made, reverse=True):  # values before their keys
            self._apply(number, made[number])

    def _without_breaks(self, number: int, edits: Sequence[Edit]) -> list[Edit]:
        """The edits of lines as those of the text without the breaks between them."""
        begins = [leaf.at for leaf in self.leaves[number]]
        return [
            (start - bisect_right(begins, start) + 1, end - bisect_right(begins, end - 1) + 1, instead)
            for start, end, instead in edits
        ]

    def _apply(self, number: int, edits: Sequence[Edit]) -> None:
        for leaf in self.leaves[number]:
            if leaf.named:
                renamed = rewrite(leaf.key, edits, leaf.at)
                items = [(renamed if key == leaf.key else key, value) for key, value in leaf.node.items()]
                leaf.node.clear()
                leaf.node.update(items)
                continue
            value = leaf.node[leaf.key]
            text = value if type(value) is str else _spelled(value)
            rewritten = rewrite(text, edits, leaf.at)
            if rewritten != text:
                leaf.node[leaf.key] = rewritten


def texts_in(document: Any, sides: frozenset[str], calls: frozenset[str]) -> Found:
    """Every text in a document; `calls` are the sides of tool calls' arguments in it."""
    found = Found()
    stack: list[Node] = [(document, sides, False)]
    while stack:
        node, here, joined = stack.pop()
        if type(node) is dict:
            _walk_object(found, stack, calls, node, here, joined)
        elif type(node) is list:
            _walk_list(found, stack, node, here, joined)
    return found


def _walk_list(found: Found, stack: list[Node], node: list[Any], here: frozenset[str], joined: bool) -> None:
    numbers: list[Leaf] = []
    spelled: list[str] = []
    at = 0
    for number, value in enumerate(node):
        kind = type(value)
        if kind is str:
            if value and not joined:
                found.add(value, here, Leaf(node, number))
        elif kind is dict or kind is list:
            stack.append((value, here, joined))
        elif (kind is int or kind is float) and not -LONG < value < LONG:
            numbers.append(Leaf(node, number, at))
            spelled.append(_spelled(value))
            at += len(spelled[-1]) + 2
    if numbers:
        found.add(", ".join(spelled), here, *numbers)


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
    for key, value in node.items():
        meaning = _MEANING.get(key)
        kind = type(value)
        if meaning is None:
            _add_unknown(found, node, key, value, here)
        elif meaning == _MEDIUM and value:
            found.add_unreadable(here)
            continue
        elif kind is str:
            if (
                value
                and not (joined and key in _SAID)
                and not (meaning == _STEER and _skips(key, value, here))
            ):
                found.add(value, here, Leaf(node, key))
        elif (
            (kind is int or kind is float)
            and not -LONG < value < LONG
            and not _TOLD.isdisjoint(here)
            and key not in COUNTED
        ):
            _add_number(found, node, key, value, here)
        if (kind is dict or kind is list) and (meaning != _NUMBER or _is_told(value, here)):
            joins = kind is list and key in _PARTS and ("role" in node or "type" in node)
            stack.append((value, _beneath(key, here, calls), joins and _join(found, value, here)))


def _add_unknown(found: Found, node: dict[str, Any], key: str, value: Any, here: frozenset[str]) -> None:
    """A field of a name that the API does not have: the name, and its value where that is one."""
    kind = type(value)
    if kind is str and value:
        if _DATA_URL.match(value) or (key == _SEALED and "input" in here):
            found.add_unreadable(here)
        at = len(key) + 2
        found.add(f"{key}: {value}", here, Leaf(node, key, at), Leaf(node, key, named=True))
    elif (kind is int or kind is float) and not -LONG < value < LONG:
        _add_number(found, node, key, value, here)
    elif len(key) > 3:
        found.add(key, here, Leaf(node, key, named=True))


def _add_number(found: Found, node: dict[str, Any], key: str, value: float, here: frozenset[str]) -> None:
    """A number that may identify a person, with the name of its field."""
    leaves = Leaf(node, key, len(key) + 2), Leaf(node, key, named=True)
    found.add(f"{key}: {_spelled(value)}", here, *(leaves if key not in FIELDS else leaves[:1]))


def _spelled(number: float) -> str:
    """A number as the digits that a model would read."""
    return str(int(number)) if type(number) is float and number.is_integer() else str(number)


def _is_told(value: Any, here: frozenset[str]) -> bool:
    """Whether a caller may have put more than numbers under a name that stands for numbers in answers."""
    if "input" not in here:
        return False
    return type(value) is dict or not set(map(type, value)) <= {int, float}


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
    shape = _SHAPES.get(key)
    return shape is not None and (value in _STEERED or shape.fullmatch(value) is not None)


def _skips(key: str, value: str, here: frozenset[str]) -> bool:
    """Whether a string that steers need not be read."""
    return steers(key, value) and not (key in _CALLERS and "input" in here and _TELLING.search(value))


def _sides(node: dict[str, Any], here: frozenset[str], calls: frozenset[str]) -> frozenset[str]:
    """On which sides a node's own texts stand."""
    role, kind = node.get("role"), node.get("type")
    if kind is None and role not in _TOOLS:
        return here
    if "input" in here and (role in _TOOLS or kind in ("function_call_output", "tool_result")):
        return RETRIEVED
    if kind in ("function_call", "custom_tool_call") and "call_id" in node:
        return calls
    return here


def _join(found: Found, parts: list[Any], here: frozenset[str]) -> bool:
    """The text parts of one message as one text; False where they are no parts."""
    leaves: list[Leaf] = []
    pieces: list[str] = []
    at, cut = 0, False
    for number, part in enumerate(parts):
        kind = type(part)
        if kind is not dict and kind is not str:
            return False
        if kind is dict and _is_shown(part):
            found.add_unreadable(here)
        said: list[tuple[Any, Any, Any]] = [(parts, number, part)]
        if kind is dict:
            said = [(part, name, part.get(name)) for name in _SAID]
        for node, key, text in said:
            if type(text) is str and text:
                leaves.append(Leaf(node, key, at))
                cut = cut or bool(pieces and pieces[-1][-1].isalnum() and text[0].isalnum())
                pieces.append(text)
                at += len(text)
    if at:
        found.add("".join(pieces), here, *leaves)
        if cut:
            found.add_lines(pieces, here)
    return True


def _is_shown(part: dict[str, Any]) -> bool:
    """Whether a part is more than text: by its type, or by an id under which an engine has kept a medium."""
    return _SHOWN.search(str(part.get("type"))) is not None or ("uuid" in part and not MEDIA.isdisjoint(part))


def holds_ids(prompt: Any) -> bool:
    """Whether a prompt gives token ids, which say a text that rails can't read."""
    return type(prompt) is list and any(type(item) is int or type(item) is list for item in prompt)


_TOKENS = ("logprobs", "prompt_logprobs", "token_ids", "prompt_token_ids", "tokens", "__verbose")


def drop_logprobs(answer: dict[str, Any]) -> None:
    """An edited text's tokens would tell what was taken out of it; some engines give their ids, too."""
    stack: list[Any] = [answer]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            for name in _TOKENS:
                if node.get(name):
                    node[name] = None
            stack += node.values()
        elif type(node) is list:
            stack += [item for item in node if type(item) is dict or type(item) is list]
