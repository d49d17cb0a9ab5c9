"""Numbers in a text that may be identifiers: runs of digits, their groups, and letters that touch them.

A run is digits with up to three separators between them. Any stretch of neighbouring groups may be a number
by itself, as in a list parted by spaces, unless it is cut out of a tighter whole (an IP address, a decimal).
Bounded: a stretch has at most MAX_GROUPS groups and MAX_DIGITS digits, a token at most MAX_TOKEN characters.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from regalia.policy.detectors.recogniser import CUT_OUT, OUT_OF_TOKEN

MAX_GROUPS = 8
MAX_DIGITS = 19
MAX_TOKEN = 24
FEWEST = 6
"""The fewest digits in a run that is looked at."""

RUN = re.compile(r"[0-9]++(?:[ .\-/()]{1,3}+[0-9]++)*+")
_GROUP = re.compile("[0-9]+")
_LEFT = re.compile(r"(?:[A-Za-z0-9]{1,12}|[A-Za-z]-)\Z")
_RIGHT = re.compile(r"-[A-Za-z](?![A-Za-z0-9])|[A-Za-z][A-Za-z0-9]{0,11}")
_JOINED_LEFT = re.compile(r"[0-9][A-Za-z]{1,12}-\Z|[A-Za-z][0-9]{1,12}-\Z")
_JOINED_RIGHT = re.compile(r"-[A-Za-z][A-Za-z0-9]|-[0-9]{1,12}[A-Za-z]")
_NOT_COMPACT = str.maketrans("", "", " .-/()")


class Number(NamedTuple):
    """A candidate: its place, its compact form, and the lengths of its groups. Letters make it a token."""

    start: int
    end: int
    compact: str
    groups: tuple[int, ...]
    cut: float = 0.0
    """What it loses because it may be a part of something longer that is grouped alike."""


def numbers(text: str, run: re.Match[str], lengths: frozenset[int]) -> Iterator[Number]:
    """The stretches of one run that are numbers of one of `lengths` and touch no letter."""
    start, end = run.span()
    open_left = start == 0 or not (
        _touches(text[start - 1]) or _JOINED_LEFT.search(text, max(0, start - 14), start)
    )
    open_right = end == len(text) or not (_touches(text[end]) or _JOINED_RIGHT.match(text, end))
    found = run.group()
    if end - start <= MAX_DIGITS and found.isdigit():
        if open_left and open_right and end - start in lengths:
            yield Number(start, end, found, (end - start,))
        return
    groups = list(_GROUP.finditer(found))
    if len(groups) > FEWEST and all(group.end() - group.start() == 1 for group in groups[:MAX_DIGITS]):
        yield from _spelt(found, start, groups, lengths, open_left and open_right)
        return
    last = len(groups) - 1
    for first in range(last + 1):
        if first == 0 and not open_left:
            continue
        if first and not _loose(found[groups[first - 1].end() : groups[first].start()]):
            continue
        digits = 0
        sizes: list[int] = []
        for index in range(first, min(first + MAX_GROUPS, last + 1)):
            size = groups[index].end() - groups[index].start()
            digits += size
            if digits > MAX_DIGITS:
                break
            sizes.append(size)
            if digits not in lengths or (index == last and not open_right):
                continue
            if index < last and not _loose(found[groups[index].end() : groups[index + 1].start()]):
                continue
            low, high = groups[first].start(), groups[index].end()
            stretch, cut = found[low:high], 0.0
            if len(sizes) == 2 and stretch[sizes[0]] == ".":
                continue  # a decimal
            if (first or index < last) and " " in stretch:
                cut = CUT_OUT if open_left and open_right else OUT_OF_TOKEN
            yield Number(start + low, start + high, stretch.translate(_NOT_COMPACT), tuple(sizes), cut)


def _spelt(
    found: str, start: int, groups: list[re.Match[str]], lengths: frozenset[int], free: bool
) -> Iterator[Number]:
    """Digits written one by one, "9 0 0 1 …": one number, if it is all there is in the run."""
    if free and len(groups) in lengths and len(groups) <= MAX_DIGITS:
        compact = found.translate(_NOT_COMPACT)
        yield Number(start, start + len(found), compact, (len(compact),))


def token(text: str, run: re.Match[str]) -> Number | None:
    """The letters and digits around a run that touches letters, in capitals; None where there are none."""
    start, end = run.span()
    left = _LEFT.search(text, max(0, start - 13), start)
    right = _RIGHT.match(text, end)
    if left:
        start = left.start()
    if right:
        end = right.end()
    if not (left or right) or end - start > MAX_TOKEN:
        return None
    if (start and _touches(text[start - 1])) or (end < len(text) and _touches(text[end])):
        return None
    compact = text[start:end].translate(_NOT_COMPACT).upper()
    return Number(start, end, compact, (len(compact),))


def _touches(character: str) -> bool:
    """Whether a letter or digit beside a number makes it part of a longer word."""
    return character.isascii() and (character.isalnum() or character == "_")


def _loose(separator: str) -> bool:
    """Whether what parts two groups may also part two numbers."""
    return " " in separator or "/" in separator or "(" in separator or ")" in separator
