"""Personal data replaced by placeholders before the model sees it, and put back for the caller.

A placeholder is `⟦KE_ID_1⟧`: the kind, and a number that is the same for the same text within one call. One
that stands in the caller's own text already is never given out, so that restoring changes nothing else.
"""

import json
import re
from collections.abc import Iterable, Sequence

from regalia.policy.decide import Hit

OPEN, CLOSE = "⟦", "⟧"
LONGEST = 72
"""The longest placeholder, in code points."""

Edit = tuple[int, int, str]
"""From, to (code points, end exclusive), and what stands there instead."""

_QUOTE = re.compile(r"\\.|\"", re.DOTALL)
_PLACEHOLDER = re.compile(r"⟦[A-Z0-9_]{1,70}⟧")


class Redactor:
    """The placeholders of one call. `originals` maps each to the text that it stands for."""

    __slots__ = ("_given", "_numbers", "originals")

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}
        self._given: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}

    def edits(self, texts: Sequence[str], hits: Iterable[Hit]) -> dict[int, list[Edit]]:
        """What to replace in each text, by the text's number, in order and without overlaps."""
        spans: dict[int, list[tuple[int, int, str]]] = {}
        for hit in hits:
            found = hit.finding
            spans.setdefault(hit.text, []).append((found.start, found.end, found.kind))
        return {
            number: [
                (start, end, self._placeholder(texts[number][start:end], kind, texts))
                for start, end, kind in merged(found_spans)
            ]
            for number, found_spans in sorted(spans.items())
        }

    def _placeholder(self, original: str, kind: str, texts: Sequence[str]) -> str:
        given = self._given.get((kind, original))
        if given is not None:
            return given
        while True:
            self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
            name = f"{OPEN}{label(kind)}_{number}{CLOSE}"
            if not any(name in text for text in texts):
                break
        self._given[kind, original] = name
        self.originals[name] = original
        return name

    def restored(self, text: str) -> list[Edit]:
        """The placeholders of this call in a text, and what they stand for."""
        if not self.originals or OPEN not in text:
            return []
        found = ((match, self.originals.get(match.group())) for match in _PLACEHOLDER.finditer(text))
        return [(match.start(), match.end(), original) for match, original in found if original is not None]


def label(kind: str) -> str:
    """A kind as placeholders spell it."""
    return re.sub(r"[^A-Z0-9]+", "_", kind.upper())[:60].strip("_") or "DATA"


def mark(kind: str) -> str:
    """What stands for what the model said and nobody may see: there is no way back."""
    return f"{OPEN}{label(kind)}{CLOSE}"


def unfinished(text: str) -> int:
    """Where a placeholder begins that has not ended yet; the text's length where none has."""
    begins = text.rfind(OPEN, max(0, len(text) - LONGEST))
    return begins if begins >= 0 and CLOSE not in text[begins:] else len(text)


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
