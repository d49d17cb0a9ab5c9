"""Dates in a text, whatever way they are written: each with all the ways in which it can be read.

Read are ISO dates, numeric dates (3/4/2025 is the third of April and the fourth of March), and a day, a name
of a month and a year in the languages of `calendar`, Vietnamese and Chinese. A part that is not said is 0.
"""

import re
from collections.abc import Iterable

import msgspec

from regalia.policy.grounding.calendar import MONTHS

Reading = tuple[int, int, int]
"""Year, month, day."""

_NAMES = "|".join(re.escape(name) for name in sorted(MONTHS, key=len, reverse=True))
_YEAR = r"(?P<year>1[0-9]{3}|2[0-9]{3})"
_DAY = r"(?P<day>[0-3]?[0-9])"
_MONTH = rf"(?P<month>{_NAMES})(?!\w)\.?"
_OF = "(?:de |del |عام |سنة )?"
_PATTERNS = [
    re.compile(rf"(?<![0-9A-Za-z/-])(?<![0-9][.,]){pattern}(?![0-9A-Za-z/-]|[.,][0-9])", re.IGNORECASE)
    for pattern in (
        rf"{_YEAR}[-/.](?P<month>[01]?[0-9])[-/.]{_DAY}",
        rf"(?P<first>[0-3]?[0-9])(?P<mark>[-/.])(?P<second>[0-3]?[0-9])(?P=mark){_YEAR}",
        rf"{_DAY}(?:st|nd|rd|th|er|\.)?\s{{1,2}}(?:of |de |d'|من )?{_MONTH}(?:,?\s{{1,2}}{_OF}{_YEAR})?",
        rf"{_MONTH}\s{{1,2}}{_DAY}(?:st|nd|rd|th)?(?:,?\s{{1,2}}{_YEAR})?",
        rf"{_MONTH},?\s{{1,2}}{_OF}{_YEAR}",
        rf"(?:ngày )?{_DAY} tháng (?P<month>[01]?[0-9])(?: năm {_YEAR})?",
        rf"tháng (?P<month>[01]?[0-9]) năm {_YEAR}",
    )
]
_PATTERNS.append(re.compile(rf"(?:{_YEAR}年)?(?P<month>[01]?[0-9])月(?:{_DAY}[日号])?"))


class Date(msgspec.Struct, frozen=True):
    """A date at [start, end) of a text, in its possible readings."""

    start: int
    end: int
    readings: tuple[Reading, ...]


def dates(text: str) -> list[Date]:
    """The dates of a normalised text, in their order, without overlaps: the longer one stays."""
    found = [
        Date(match.start(), match.end(), readings)
        for pattern in _PATTERNS
        for match in pattern.finditer(text)
        if (readings := _readings(match.groupdict()))
    ]
    kept: list[Date] = []
    for date in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or date.start >= kept[-1].end:
            kept.append(date)
    return kept


def agrees(stated: Reading, given: Reading, years: Iterable[int]) -> bool:
    """Whether all that a stated date says is in a given one; its year may stand elsewhere if not there."""
    (year, month, day), (known_year, known_month, known_day) = stated, given
    if month != known_month or (day and day != known_day):
        return False
    return not year or year == known_year or (not known_year and year in years)


def _readings(parts: dict[str, str | None]) -> tuple[Reading, ...]:
    year = int(parts.get("year") or 0)
    if first := parts.get("first"):
        one, two = int(first), int(parts["second"] or 0)
        possible = {(year, two, one), (year, one, two)}
    else:
        month = (parts.get("month") or "").lower()
        possible = {(year, int(month) if month.isdecimal() else MONTHS[month], int(parts.get("day") or 0))}
    return tuple(sorted(one for one in possible if 1 <= one[1] <= 12 and one[2] <= 31 and (one[2] or one[0])))
