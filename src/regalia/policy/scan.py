"""Texts looked at by the detectors of rails: once by each, in bounded pieces, against a deadline.

A rail's scan says what was found, or why its detector could not look. What is read is the text with
look-alike digits folded and invisible characters removed, and, where it holds JSON escapes, the text that
they spell.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import msgspec
import structlog

from regalia.policy.compiled import Plan, Rule, applies, window_of
from regalia.policy.condition import ConditionFailed, Facts
from regalia.policy.decide import NOTHING_FOUND, Hit, Scan
from regalia.policy.detector import (
    MAX_TEXT,
    MOST_HIDDEN,
    OVERLAP,
    Detector,
    GroundedDetector,
    SlowDetector,
)
from regalia.policy.finding import Finding
from regalia.policy.grounding import NO_SOURCES, Sources
from regalia.policy.normalise import normalise

_LOG = structlog.get_logger()
MAX_HITS = 10_000
"""More findings than this in one call are a failure of the rail, not a list."""

OFF_LOOP = 16_384
"""Texts longer than this together are looked at in a thread, so that other calls go on."""

EACH = 64
"""What looking at a text costs beside its length, in code points."""

LONGEST_S = 10.0
"""How long the quick rails of a call may take together, whatever each of them may."""

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?")
Span = Callable[[int, int], tuple[int, int]]


class Text(msgspec.Struct, frozen=True, eq=False):
    """A text to look at, and on which sides it stands. What can't be read (a picture) is not `readable`.

    An answer's text comes with the `sources` of its request, and has not `ended` where it goes on.
    """

    text: str
    sides: frozenset[str]
    readable: bool = True
    sources: Sources = NO_SOURCES
    ended: bool = True


class TimeOver(Exception):
    """A rail's time was over before its detector had seen every text."""


class TooMany(Exception):
    """A detector found more than MAX_HITS things."""


async def scan_early(plan: Plan, facts: Facts, texts: Sequence[Text]) -> Mapping[str, Scan]:
    """Run the rules that come before the engine is asked; the plan's own `silent` where it can be."""
    if sum([len(text.text) + EACH for text in texts]) > OFF_LOOP:
        scans: Mapping[str, Scan] = await asyncio.to_thread(scan_quick, plan.quick, facts, texts)
    else:
        seen = [Seen(text) for text in texts]
        if plan.silent is not None and _is_silent(plan, seen):
            return plan.silent
        scans = scan_quick(plan.quick, facts, texts, seen=seen)
    return {**scans, **await scan_slow(plan.slow, facts, texts)} if plan.slow else scans


async def scan_all(plan: Plan, facts: Facts, texts: Sequence[Text]) -> Mapping[str, Scan]:
    """Run all rules of a plan, where no engine is waited for."""
    scans = await scan_early(plan, facts, texts)
    return {**scans, **await scan_slow(plan.late, facts, texts)} if plan.late else scans


def passes(plan: Plan, sides: frozenset[str], texts: Sequence[str]) -> bool:
    """Whether all that the plan asks of whole texts on these sides is asked, in time, and nothing is found.

    The short way for texts in plain ASCII; where it says no, nothing is said of them yet.
    """
    whole = "".join(texts)
    if plan.silent is None or plan.late or len(whole) > OFF_LOOP or not reads_as_it_is(whole):
        return False
    until = time.monotonic() + plan.soonest_s
    try:
        for detector in plan.readers(sides):
            for text in texts:
                if detector.find(text):
                    return False
    except Exception:  # a rail that could not look says so itself, when it looks again
        return False
    return time.monotonic() <= until


def _is_silent(plan: Plan, texts: "Sequence[Seen]") -> bool:
    """Whether every quick detector could look, in the shortest time that any rail has, and found nothing.

    Most calls end here. Otherwise each rail makes its own scan of what was found, with its own time.
    """
    until = time.monotonic() + plan.soonest_s
    try:
        for seen in texts:
            if not seen.is_silent(plan.readers(seen.text.sides), time.monotonic, until):
                return False
    except Exception:  # a rail that could not look says so itself, when it looks again
        return False
    return time.monotonic() <= until


def scan_quick(
    rules: Sequence[Rule],
    facts: Facts,
    texts: Sequence[Text],
    clock: Callable[[], float] = time.monotonic,
    seen: "Sequence[Seen]" = (),
) -> dict[str, Scan]:
    """Run rules whose detectors cost little; each by itself fails, at most."""
    scans: dict[str, Scan] = {}
    seen = seen or [Seen(text) for text in texts]
    end = clock() + LONGEST_S
    for rule in rules:
        scan = _begin(rule, facts, texts)
        if scan is not None:
            if rule.detector is not None and not scan.failure:
                scan = _run(rule, seen, clock, min(end, clock() + rule.rail.timeout_ms / 1000))
            scans[rule.rail.id] = scan
    return scans


async def scan_slow(rules: Sequence[Rule], facts: Facts, texts: Sequence[Text]) -> dict[str, Scan]:
    """Run rules whose detectors cost time, all at once."""
    begun = [(rule, _begin(rule, facts, texts)) for rule in rules]
    wanted = [(rule, scan) for rule, scan in begun if scan is not None]
    if not wanted:
        return {}
    done = await asyncio.gather(*(_look_slowly(rule, scan, texts) for rule, scan in wanted))
    return {rule.rail.id: scan for (rule, _), scan in zip(wanted, done, strict=True)}


def _begin(rule: Rule, facts: Facts, texts: Sequence[Text]) -> Scan | None:
    """None where the rule does not run for these texts, a failed scan where it can't."""
    relevant, readable = False, True
    for text in texts:
        if not rule.sides.isdisjoint(text.sides):
            relevant = True
            readable = readable and text.readable
    if not relevant:
        return None
    try:
        if not applies(rule, facts):
            return None
    except ConditionFailed:
        return _NO_ANSWER
    return NOTHING_FOUND if readable or rule.detector is None else _UNREADABLE


_NO_ANSWER, _UNREADABLE = Scan(failure="condition"), Scan(failure="unreadable")


class Seen:
    """One text as detectors read it, and what each of them has found in it."""

    __slots__ = ("_folded", "_found", "text")

    def __init__(self, text: Text) -> None:
        self.text = text
        self._folded: list[View] | None = None
        self._found: dict[Detector, list[Finding]] = {}

    def is_silent(self, detectors: Sequence[Detector], clock: Callable[[], float], until: float) -> bool:
        """Whether they all could look, and found nothing that is or may become a finding."""
        text = self.text
        if not text.readable:
            return False
        if text.ended and len(text.text) <= MAX_TEXT and reads_as_it_is(text.text):  # as most texts
            for detector in detectors:
                if found := detector.find(text.text):
                    if clock() <= until:
                        self._found[detector] = _each_once(found)
                    return False
            return True
        for detector in detectors:
            if self.find(detector, clock, until):
                return False
            if not text.ended and self.unfinished(detector) < len(text.text):
                return False
        return True

    def find(self, detector: Detector, clock: Callable[[], float], until: float) -> list[Finding]:
        """What the detector finds, each thing once. Raises TimeOver, and whatever the detector raises."""
        found = self._found.get(detector)
        if found is None:
            found = []
            for view in self._views_for(detector):
                for begins, piece in pieces(view.text, detector):
                    found += [view.place(one, begins, len(self.text.text)) for one in detector.find(piece)]
                    if clock() > until:
                        raise TimeOver
            self._found[detector] = found = _each_once(found)
        return found

    def unfinished(self, detector: Detector) -> int:
        """From where on a text that goes on may yet become what the detector would find.

        Its window counts what is read: what is not (invisible characters, escapes) pushes nothing out of it.
        """
        text = self.text.text
        opens = getattr(detector, "unfinished", None)
        window = window_of(detector)
        begins = len(text)
        for view in self._views_for(detector):
            size = len(view.text)
            place = size if opens is None else opens(view.text)
            if size < len(text):
                place = min(place, max(0, size - window))
            if place < size:
                begins = min(begins, view.origin(place))
        return begins

    def _views_for(self, detector: Detector) -> "list[View]":
        if getattr(detector, "raw", False):
            return [View(self.text.text)]
        if self._folded is None:
            self._folded = views_of(self.text.text)
        return self._folded


def _each_once(found: list[Finding]) -> list[Finding]:
    """Findings without those that say the same of the same place."""
    once: dict[tuple[str, int, int], Finding] = {}
    for finding in found:
        once.setdefault((finding.kind, finding.start, finding.end), finding)
    return list(once.values())


def _run(rule: Rule, texts: Sequence[Seen], clock: Callable[[], float], until: float) -> Scan:
    detector = cast(Detector, rule.detector)
    hits: list[Hit] = []
    unfinished: list[tuple[int, int]] = []
    try:
        for number, seen in enumerate(texts):
            text = seen.text
            if rule.sides.isdisjoint(text.sides):
                continue
            if found := seen.find(detector, clock, until):
                _keep(rule, hits, number, found)
            if not text.ended and (begins := seen.unfinished(detector)) < len(text.text):
                unfinished.append((number, begins))
    except Exception as error:  # whatever it is, the rail could not look: that is what the record says
        return _failed(rule, error)
    return Scan(tuple(hits), unfinished=tuple(unfinished)) if hits or unfinished else NOTHING_FOUND


async def _look_slowly(rule: Rule, scan: Scan, texts: Sequence[Text]) -> Scan:
    if scan.failure:
        return scan
    detector = cast(SlowDetector, rule.detector)
    hits: list[Hit] = []
    try:
        async with asyncio.timeout(rule.rail.timeout_ms / 1000):
            for number, text in enumerate(texts):
                if text.sides & rule.sides:
                    view = views_of(text.text)[0]
                    if not getattr(detector, "grounded", False):
                        found = await _found_slowly(detector, text, view)
                    elif "tool_calls" not in text.sides or "tool_calls" in rule.sides:
                        found = await _found_against(cast(GroundedDetector, detector), text, view)
                    else:
                        continue  # arguments of a tool call are no statements, unless the rail says so
                    _keep(rule, hits, number, found)
    except Exception as error:  # as above
        return _failed(rule, error)
    return Scan(tuple(hits))


async def _found_slowly(detector: SlowDetector, text: Text, view: "View") -> list[Finding]:
    placed: list[Finding] = []
    for begins, piece in pieces(view.text):
        found = await detector.find(piece)
        placed += [view.place(finding, begins, len(text.text)) for finding in found]
        if len(placed) > MAX_HITS:
            raise TooMany
    return placed


async def _found_against(detector: GroundedDetector, text: Text, view: "View") -> list[Finding]:
    ended = text.ended or len(text.text) - len(view.text) > MOST_HIDDEN
    found = await detector.find_grounded(view.text, text.sources, ended=ended)
    return [view.place(finding, 0, len(text.text)) for finding in found]


def _keep(rule: Rule, hits: list[Hit], number: int, found: Sequence[Finding]) -> None:
    hits += [Hit(number, finding) for finding in found if rule.counts(finding.kind, finding.score)]
    if len(hits) > MAX_HITS:
        raise TooMany


def _failed(rule: Rule, error: Exception) -> Scan:
    if isinstance(error, TimeOver | TimeoutError):
        failure = "timeout"
    elif isinstance(error, TooMany):
        failure = "too_many"
    else:
        failure = "error"
        # the error's text may hold what was being looked at: only its type is told
        _LOG.warning("a rail's detector failed", rail=rule.rail.id, error=type(error).__name__)
    return Scan(failure=failure)


class View:
    """A text as detectors read it, and the way back to the text as it came."""

    __slots__ = ("_back", "text")

    def __init__(self, text: str, *back: Span) -> None:
        self.text = text
        self._back = back

    def origin(self, position: int) -> int:
        """Where a character that is read stands in the text as it came."""
        for back in self._back:
            position, _ = back(position, position)
        return position

    def place(self, found: Finding, begins: int, length: int) -> Finding:
        """A finding in the piece that begins there, placed in the text as it came."""
        start, end = found.start + begins, found.end + begins
        for back in self._back:
            start, end = back(start, end)
        start, end = max(0, min(start, length)), max(0, min(end, length))
        if (start, end) == (found.start, found.end):
            return found
        return msgspec.structs.replace(found, start=start, end=end)


def reads_as_it_is(text: str) -> bool:
    """Whether there is nothing in a text to be folded or spelled out."""
    # one character is looked for ten times as fast as two
    return text.isascii() and ("\\" not in text or "\\u" not in text)


def views_of(text: str) -> list[View]:
    """The text normalised, and again with its JSON escapes spelled out where it has any."""
    plain = normalise(text)
    views = [View(plain.text, plain.span)] if plain.text != text else [View(text)]
    if "\\u" in text and (spelled := spell_out(text)) is not None:
        inner = normalise(spelled[0])
        views.append(View(inner.text, inner.span, spelled[1]))
    return views


def spell_out(text: str) -> tuple[str, Span] | None:
    """The text with `\\uXXXX` as the characters they are, and the way back; None where it has none."""
    parts: list[str] = []
    origin: list[int] = []  # for each character of the result, where it begins in the text
    ends: list[int] = []
    done = 0

    def keep(start: int, end: int) -> None:
        parts.append(text[start:end])
        origin.extend(range(start, end))
        ends.extend(range(start + 1, end + 1))

    for match in _ESCAPE.finditer(text):
        first, second = int(match[1], 16), match[2]
        end = match.end()
        if 0xD800 <= first < 0xDC00 and second:
            first = 0x10000 + ((first - 0xD800) << 10) + int(second, 16) - 0xDC00
        elif second:
            end = match.start() + 6
        if 0xD800 <= first < 0xE000:
            continue  # half a pair spells nothing
        keep(done, match.start())
        parts.append(chr(first))
        origin.append(match.start())
        ends.append(end)
        done = end
    if not parts:
        return None
    keep(done, len(text))

    def back(start: int, end: int) -> tuple[int, int]:
        if end <= start:
            return (origin[start] if start < len(origin) else len(text),) * 2
        return origin[start], ends[end - 1]

    return "".join(parts), back


def pieces(text: str, detector: object = None) -> Iterator[tuple[int, str]]:
    """The text in pieces that detectors take, each with where it begins.

    Two pieces share OVERLAP, or as much more as the detector takes for the beginning of a finding.
    """
    unfinished = getattr(detector, "unfinished", len)
    begins = 0
    while True:
        piece = text[begins : begins + MAX_TEXT]
        yield begins, piece
        if begins + MAX_TEXT >= len(text):
            return
        begins += max(MAX_TEXT // 2, min(MAX_TEXT - OVERLAP, unfinished(piece)))
