"""Personal data replaced by placeholders before the model sees it, and put back for the caller.

A placeholder is `⟦KE_ID_1⟧`: the kind, and a number that is the same for the same text within one call. Small
models leave its brackets out: it is put back without them, too, unless what stands beside it may be of a
longer name: before it a capital letter, a digit or `_`, after it one of these or a digit of any script. All
else, as Malay endings (`KE_ID_1nya`) and scripts without spaces, can be part of no name. JSON that is written
in ASCII, as some engines give the arguments of tool calls, has `\\u27e6` and `\\u27e7` for the brackets. What
stands in the caller's own text already, as `KE_ID_1`, is never given out, so that restoring changes nothing
else.
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from regalia.policy.decide import Hit

OPEN, CLOSE = "⟦", "⟧"
LONGEST = 82
"""The longest placeholder, in code points: a label of 60, its number, and brackets that are escaped."""
_SLASHES = 16
BEHIND = LONGEST + _SLASHES
"""How much text before a place tells what of a placeholder stands there."""

Edit = tuple[int, int, str]
"""From, to (code points, end exclusive), and what stands there instead."""

_QUOTE = re.compile(r"\\.|\"", re.DOTALL)
_ESCAPED_OPEN = "\\u27e6"
_USED = re.compile(rf"({OPEN}|\\u[0-9A-Fa-f]{{4}})?([A-Z0-9_]+)({CLOSE}|\\u27[eE]7)?")
"""A name as long as it goes, with what stands before it (any escape, so as not to read its digits as the
name's) and the bracket after it."""
_ENDS = re.compile(rf"({OPEN}|\\u[0-9A-Fa-f]{{4}})?([A-Z0-9_]*)(\\(?:u(?:2(?:7[eE]?)?)?)?)?\Z")
"""What of a placeholder, of its escaped brackets too, may stand at the end of a text."""


class Redactor:
    """The placeholders of one call. `originals` maps each to the text that it stands for."""

    __slots__ = ("_bare", "_given", "_names", "_numbers", "originals")

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}
        self._bare: dict[str, str] = {}  # the same without brackets
        self._names: list[str] = []  # these in order
        self._given: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}

    def edits(self, texts: Sequence[str], hits: Iterable[Hit]) -> dict[int, list[Edit]]:
        """What to replace in each text, by the text's number, in order and without overlaps."""
        spans: dict[int, list[tuple[int, int, str]]] = {}
        for hit in hits:
            found = hit.finding
            spans.setdefault(hit.text, []).append((found.start, found.end, found.kind))
        if not spans:
            return {}
        taken = {match[2] for text in texts for match in _USED.finditer(text)}
        made = {
            number: [
                (start, end, self._placeholder(texts[number][start:end], kind, taken))
                for start, end, kind in merged(found_spans)
            ]
            for number, found_spans in sorted(spans.items())
        }
        self._names = sorted(self._bare)
        return made

    def _placeholder(self, original: str, kind: str, taken: Collection[str]) -> str:
        given = self._given.get((kind, original))
        if given is not None:
            return given
        while True:
            self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
            name = f"{label(kind)}_{number}"
            if name not in taken and name not in self._bare:
                break
        self._bare[name] = original
        self._given[kind, original] = placeholder = f"{OPEN}{name}{CLOSE}"
        self.originals[placeholder] = original
        return placeholder

    def restored(self, text: str) -> list[Edit]:
        """The placeholders of this call in a text, and what they stand for."""
        if not self._bare or "_" not in text:
            return []
        edits: list[Edit] = []
        for match in _USED.finditer(text):
            original = self._bare.get(match[2])
            if original is None or (not match[3] and _may_count_on(text, match.end())):
                continue
            edits.append((_beginning(match), match.end(), original))
        return edits

    def unfinished(self, text: str) -> int:
        """Where a text that goes on may yet turn into a placeholder of this call, or its length."""
        if not self._names or (match := _ENDS.search(text, max(0, len(text) - LONGEST))) is None:
            return len(text)
        name, escape = match[2], match[3]
        if escape and name not in self._bare:  # no bracket that closes; it may be one that opens
            return len(text) if _is_escaped(text, match.start(3)) else match.start(3)
        begins = _beginning(match)
        if not name and begins == match.start(2):
            return len(text)
        at = bisect_left(self._names, name)
        return begins if at < len(self._names) and self._names[at].startswith(name) else len(text)


def _beginning(match: re.Match[str]) -> int:
    """Where a placeholder begins: with its bracket, if it has one."""
    before = (match[1] or "").lower()
    if before == OPEN or (before == _ESCAPED_OPEN and not _is_escaped(match.string, match.start())):
        return match.start()
    return match.start(2)


def _is_escaped(text: str, at: int) -> bool:
    """Whether the backslash there is spelled by one before it; taken to be so where very many stand there."""
    before = text[max(0, at - _SLASHES) : at]
    slashes = len(before) - len(before.rstrip("\\"))
    return slashes % 2 == 1 or slashes == _SLASHES


def _may_count_on(text: str, at: int) -> bool:
    """Whether a digit stands there, which may be one more of the number before it, whatever its script."""
    return at < len(text) and text[at] > "\x7f" and unicodedata.category(text[at]).startswith("N")


def label(kind: str) -> str:
    """A kind as placeholders spell it."""
    return re.sub(r"[^A-Z0-9]+", "_", kind.upper())[:60].strip("_") or "DATA"


def mark(kind: str) -> str:
    """What stands for what the model said and nobody may see: there is no way back."""
    return f"{OPEN}{label(kind)}{CLOSE}"


def merged(spans: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Spans in order, those that overlap as one, under the kind of the longest."""
    result: list[tuple[int, int, str, int]] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            continue
        if result and start < result[-1][1]:
            first, last, name, length = result[-1]
            better = (kind, end - start) if end - start > length else (name, length)
            result[-1] = (first, max(last, end), *better)
        else:
            result.append((start, end, kind, end - start))
    return [(start, end, kind) for start, end, kind, _ in result]


def rewrite(text: str, edits: Sequence[Edit], at: int = 0) -> str:
    """A text, or the piece of one that begins `at`, with the edits made.

    What an edit puts in stands in the piece where the edit begins; from further pieces it only takes away.
    """
    end = at + len(text)
    pieces, done = [], at
    for first, last, instead in edits:
        if last <= at or first >= end:
            continue
        pieces.append(text[max(done, at) - at : max(first, at) - at])
        if first >= at:
            pieces.append(instead)
        done = last
    if done == at and not pieces:
        return text
    return "".join([*pieces, text[done - at :] if done < end else ""])


def within_json(text: str, edits: Sequence[Edit], inside: bool = False) -> list[Edit]:
    """The edits of a text that is JSON, so that it stays JSON: escaped in strings, quoted elsewhere.

    `inside` says whether the text begins within a string.
    """
    done, result = 0, []
    for first, last, instead in edits:
        inside = in_string(text[done:first], inside)
        done = first
        spelled = _json_text(instead)
        result.append((first, last, spelled if inside else f'"{spelled}"'))
    return result


def in_string(text: str, inside: bool = False) -> bool:
    """Whether a JSON text is within a string at its end."""
    for match in _QUOTE.finditer(text):
        if match.group() == '"':
            inside = not inside
    return inside


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
