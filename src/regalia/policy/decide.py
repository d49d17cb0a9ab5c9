"""The decision: plain data in, plain data out, no I/O and no clock.

1. A rail runs if there is a scan for it. It acts if its scan failed, or if it has found something (or has no
   detector) and its condition holds.
2. `allow` exempts: what an enforced rail with it has found, no later rail counts.
3. A rail in shadow is told of, and decides nothing.
4. Of the enforced rails that act the strictest action decides: block, hold, redact, flag. Among equals the
   first rail of the pack is the one that the caller hears of.
5. A scan that failed acts as its rail's `on_failure` says; so does a condition that has no answer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from regalia.policy.condition import ConditionFailed, Facts, Summary, condition
from regalia.policy.document import ACTIONS, Action, Mode, Pack, Rail
from regalia.policy.finding import Finding

MAX_KINDS = 16
"""How many kinds a record counts one by one; the rest is counted as `other`."""


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A finding in one of the texts that were looked at, by the text's number."""

    text: int
    finding: Finding


class Scan(msgspec.Struct, frozen=True):
    """What a rail's detector has found, or why it could not look: "timeout", "error", "unreadable" …

    `unfinished` are texts that go on, by their numbers, each with the place from which on it may yet become a
    finding.
    """

    hits: tuple[Hit, ...] = ()
    failure: str = ""
    unfinished: tuple[tuple[int, int], ...] = ()


class Ran(msgspec.Struct, frozen=True):
    """One rail that ran: what the record says of it. `does` is what it did, "" where it did not act."""

    rail: str
    action: Action
    mode: Mode
    does: str = ""
    counts: Mapping[str, int] = {}
    failure: str = ""

    @property
    def clear(self) -> bool:
        """Whether it looked and found nothing."""
        return not (self.does or self.failure or any(self.counts.values()))


class Decision(msgspec.Struct, frozen=True):
    """What is to be done with the texts. `decisive` is the rail that the caller is told about."""

    action: Action = "allow"
    decisive: str = ""
    ran: tuple[Ran, ...] = ()
    redactions: tuple[Hit, ...] = ()


NOTHING = Decision()
NOTHING_FOUND = Scan()


def decide(pack: Pack, facts: Facts, scans: Mapping[str, Scan]) -> Decision:
    """What the pack says, given what its rails' detectors have found (by the rail's id)."""
    ran: list[Ran] = []
    exempt: list[Hit] = []
    redactions: list[Hit] = []
    action: Action = "allow"
    decisive = ""
    for rail in pack.rails:
        scan = scans.get(rail.id)
        if scan is None:
            continue
        hits = [hit for hit in scan.hits if not _covered(hit, exempt)] if exempt else scan.hits
        does, failure = _act(rail, facts, hits, scan.failure)
        ran.append(Ran(rail.id, rail.action, rail.mode, does, count(hits), failure))
        if not does or rail.mode == "shadow":
            continue
        if does == "allow":
            exempt += hits if not failure else ()
            continue
        if does == "redact":
            redactions += hits
        if ACTIONS.index(does) > ACTIONS.index(action):
            action, decisive = does, rail.id
    return Decision(action, decisive, tuple(ran), tuple(redactions))


def _act(rail: Rail, facts: Facts, hits: Sequence[Hit], failure: str) -> tuple[Action | Literal[""], str]:
    """What the rail does ("" for nothing), and what of it failed."""
    if failure:
        return rail.on_failure, failure
    if rail.detector is not None and not hits:
        return "", ""
    try:
        holds = condition(rail.when).holds(facts, summaries(hits))
    except ConditionFailed:
        return rail.on_failure, "condition"
    return (rail.action if holds else ""), ""


def summaries(hits: Sequence[Hit]) -> list[Summary]:
    """The findings by kind and strength, as conditions see them."""
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for hit in hits:
        item = hit.finding
        score, number = found.get((item.kind, item.strength), (0.0, 0))
        found[item.kind, item.strength] = max(score, item.score), number + 1
    return [Summary(kind, strength, *rest) for (kind, strength), rest in sorted(found.items())]


def count(hits: Sequence[Hit]) -> dict[str, int]:
    """How many of each kind, for the record."""
    counts: dict[str, int] = {}
    for hit in hits:
        kind = hit.finding.kind
        if kind not in counts and len(counts) >= MAX_KINDS:
            kind = "other"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def strictest(first: Action, second: Action) -> Action:
    """The stricter of two actions."""
    return first if ACTIONS.index(first) >= ACTIONS.index(second) else second


def _covered(hit: Hit, exempt: Sequence[Hit]) -> bool:
    found = hit.finding
    return any(
        other.text == hit.text and other.finding.start < found.end and found.start < other.finding.end
        for other in exempt
    )
