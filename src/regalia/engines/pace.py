"""What is assumed of an engine's work where the engine does not count it.

Assumptions are marked as such in the record. They are never more than the request allowed.
"""

from typing import Any

BYTES_PER_TOKEN = 4
"""Of text in UTF-8: about what current tokenizers make of European, Arabic, Indic and East Asian texts."""

FIRST_GUESS = 30.0
"""Tokens a second, of an engine that has not answered yet."""

_MEMORY_S = 60.0
_READ = ("messages", "prompt", "input", "instructions", "tools", "functions", "response_format", "text")
_NO_TEXT = frozenset({"type", "role", "id", "name", "index", "finish_reason", "detail"})


class Pace:
    """How many tokens an engine writes in a second for one request, by its recent whole answers."""

    __slots__ = ("_seconds", "_tokens")

    def __init__(self) -> None:
        self._tokens = FIRST_GUESS
        self._seconds = 1.0

    def note(self, tokens: int, seconds: float) -> None:
        """One answer. What is older than a minute of answering fades."""
        self._tokens += tokens
        self._seconds += seconds
        if self._seconds > _MEMORY_S:
            self._tokens /= 2
            self._seconds /= 2

    def tokens(self, seconds: float) -> int:
        """What it writes in that time."""
        return int(self._tokens / self._seconds * seconds)


def request_tokens(document: dict[str, Any]) -> int:
    """About how many tokens the engine reads of a request. Token ids count as they are; pictures, sounds
    and files do not count.
    """
    read = [document[name] for name in _READ if name in document]
    return text_tokens(read) + sum(map(_ids, read))


def text_tokens(node: Any) -> int:
    """About how many tokens the texts in a JSON value are."""
    return -(-_bytes(node) // BYTES_PER_TOKEN)


def _bytes(node: Any) -> int:
    size = 0
    stack = [node]
    while stack:
        node = stack.pop()
        if type(node) is str:
            size += 0 if node.startswith("data:") else len(node.encode(errors="replace"))
        elif type(node) is list:
            stack += node
        elif type(node) is dict:
            stack += [value for key, value in node.items() if key not in _NO_TEXT]
    return size


def _ids(node: Any) -> int:
    """Token ids in place of a text, or several lists of them."""
    if type(node) is not list:
        return 0
    lists = [item for item in node if type(item) is list]
    return sum(type(item) is int for items in (node, *lists) for item in items)
