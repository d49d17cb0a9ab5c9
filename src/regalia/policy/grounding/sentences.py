"""A text in sentences, over scripts. Linear, and no sentence is longer than LONGEST."""

import re

LONGEST = 320
"""A sentence that is longer is cut at a space (or, where there is none, anywhere): so a stream can be told
from a bounded piece of it."""

_END = re.compile(r"[.!?\u061f\u06d4\u0964]+[\"'\u2019\u201d\u00bb)\]]*(?=\s|[^\W\d_])|\n+")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Za-z]|Dr|Mr|Mrs|Ms|Prof|Sr|Jr|St|Rs|Rp|Hj|Bw|Bi|En|Tn|Pn|Sdn|Ltd|Inc|[Nn]o|[Aa]rt|vs|etc|approx|bil|hlm)\.$"
)
_LEAST_CUT = LONGEST // 2


def sentences(text: str) -> list[tuple[int, int]]:
    """The spans of the sentences, without the space around them; what is left at the end is the last one."""
    spans: list[tuple[int, int]] = []
    begins = 0
    for match in _END.finditer(text):
        if match.group()[0] != "\n" and not _ends(text, match.start(), match.end()):
            continue
        _add(spans, text, begins, match.end())
        begins = match.end()
    _add(spans, text, begins, len(text))
    return spans


def _ends(text: str, dot: int, after: int) -> bool:
    """Whether the full stop ends a sentence: it does not inside a number, a name or an abbreviation."""
    following = text[after : after + 8].lstrip()[:1]
    if text[after] == following and (following.islower() or following.isupper()):
        return False  # no space before a letter of a cased script: a host's name, "e.g.", a file
    goes_on = following.islower() or _ABBREVIATION.search(text, max(0, dot - 8), dot + 1) is not None
    return text[dot] != "." or not goes_on


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Add a stretch, cut where it is too long."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while end - start > LONGEST:
        cut = _cut(text, start)
        spans.append((start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        spans.append((start, end))


def _cut(text: str, start: int) -> int:
    """Where a sentence that is too long is cut: at a space that stands beside no number, if there is one."""
    fallback = 0
    for at in range(start + LONGEST, start + _LEAST_CUT, -1):
        if text[at].isspace():
            if not text[at - 1].isdigit() and not text[at + 1 : at + 2].isdigit():
                return at
            fallback = fallback or at
    if fallback:
        return fallback
    for at in range(start + LONGEST, start + _LEAST_CUT, -1):
        if not (text[at - 1].isdigit() or text[at].isdigit()):
            return at
    return start + LONGEST
