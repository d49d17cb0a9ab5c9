"""A pack made ready: its detectors built, its conditions compiled, its rails sorted by where they look.

What is the same for every call is worked out once: which detectors read a text (`Plan`), and what is decided,
and told, where none of them finds anything.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import msgspec

from regalia.policy.condition import Condition, ConditionFailed, Facts, condition
from regalia.policy.decide import NOTHING_FOUND, Decision, Scan, decide
from regalia.policy.detector import Detector, Factory, Resources, SlowDetector
from regalia.policy.document import Pack, Rail
from regalia.policy.errors import PackError
from regalia.policy.reading import digest_of, read_pack

WINDOW = 256
"""How much text a detector needs around a place, in code points, unless its own `window` says otherwise."""

_ASKED = frozenset({"input", "retrieved", "tool_calls"})
_encode = msgspec.json.Encoder(order="sorted").encode


class Rule(msgspec.Struct, frozen=True, eq=False):
    """One rail, ready to run. `early` rules run before the engine is asked, the others beside it."""

    rail: Rail
    sides: frozenset[str]
    condition: Condition
    detector: Detector | SlowDetector | None
    kinds: tuple[str, ...]
    slow: bool
    window: int

    @property
    def early(self) -> bool:
        """What costs little, and what changes the text that the engine gets."""
        return not self.slow or self.rail.action == "redact"

    @property
    def unconditional(self) -> bool:
        """Whether it runs for every call, and does nothing where it finds nothing."""
        return self.detector is not None and (
            self.condition.asks_findings or not self.condition.source.strip()
        )

    @property
    def decides(self) -> bool:
        """Whether what it finds may keep a text back, or change it."""
        return self.rail.mode == "enforce" and (
            self.rail.action in ("redact", "hold", "block") or self.rail.on_failure in ("hold", "block")
        )

    def counts(self, kind: str, score: float) -> bool:
        """Whether the rail counts a finding."""
        wanted = self.rail.detector
        if wanted is None or score < wanted.min_score:
            return False
        return not self.kinds or any(
            kind == name or (name.endswith(".*") and kind.startswith(name[:-1])) for name in self.kinds
        )


class Plan:
    """Rules that all have a text to look at, in the pack's order, and when each of them runs.

    `silent` is what their scans are where all of them are quick and none finds anything, None where that
    depends on the call (on a condition, or on a rail without a detector); `decided` is the decision then.
    """

    __slots__ = ("_readers", "decided", "late", "pack", "quick", "rules", "silent", "slow", "soonest_s")

    def __init__(self, pack: Pack, rules: Sequence[Rule]) -> None:
        self.pack = pack
        self.rules = tuple(rules)
        self.quick = tuple(rule for rule in rules if rule.early and not rule.slow)
        self.slow = tuple(rule for rule in rules if rule.early and rule.slow)
        self.late = tuple(rule for rule in rules if not rule.early)
        self.soonest_s = min((rule.rail.timeout_ms for rule in self.quick), default=math.inf) / 1000
        self.silent: Mapping[str, Scan] | None = None
        if not self.slow and all(rule.unconditional for rule in self.quick):
            self.silent = MappingProxyType({rule.rail.id: NOTHING_FOUND for rule in self.quick})
        self.decided = decide(pack, Facts(), self.silent or {})
        self._readers: dict[frozenset[str], tuple[Detector, ...]] = {}

    def readers(self, sides: frozenset[str]) -> tuple[Detector, ...]:
        """The quick detectors that look at a text on these sides, each once."""
        found = self._readers.get(sides)
        if found is None:
            looking = (rule.detector for rule in self.quick if rule.detector and rule.sides & sides)
            found = self._readers[sides] = cast(tuple[Detector, ...], tuple(dict.fromkeys(looking)))
        return found

    def decide(self, facts: Facts, scans: Mapping[str, Scan]) -> Decision:
        """What the pack says of what was found; one and the same object where that is nothing."""
        return self.decided if scans is self.silent else decide(self.pack, facts, scans)


class Policy:
    """A pack in force. Safe to share between threads."""

    def __init__(self, pack: Pack, digest: str, rules: tuple[Rule, ...]) -> None:
        self.pack = pack
        self.digest = digest
        self.label = pack.label
        self.rules = rules
        self.waits = any(not rule.early and rule.sides & _ASKED for rule in rules)
        """Whether rails remain for a request that run while the engine works."""
        self.grounds = any(getattr(rule.detector, "grounded", False) for rule in rules)
        """Whether answers are held against the sources of their requests."""
        self._plans: dict[frozenset[str], Plan] = {}
        self._told: dict[tuple[Plan, Plan | None], msgspec.Raw] = {}

    async def prepare(self) -> None:
        """Have detectors get ready what costs time, before calls ask for it. Raises what they raise."""
        for detector in {id(rule.detector): rule.detector for rule in self.rules}.values():
            if (prepare := getattr(detector, "prepare", None)) is not None:
                await prepare()

    def rules_on(self, sides: frozenset[str]) -> tuple[Rule, ...]:
        """The rules that look at any of these sides."""
        return self.plan(sides).rules

    def plan(self, sides: frozenset[str]) -> Plan:
        """The plan of the rules that look at any of these sides."""
        found = self._plans.get(sides)
        if found is None:
            found = self._plans[sides] = Plan(self.pack, [rule for rule in self.rules if rule.sides & sides])
        return found

    def told(self, asked: Plan, answered: Plan | None, tell: Callable[[], Any]) -> msgspec.Raw:
        """The record's `policy` of a call in which these plans found nothing: `tell` gives it, once."""
        known = self._told.get((asked, answered))
        if known is None:
            known = self._told[asked, answered] = msgspec.Raw(_encode(tell()))
        return known

    def message(self, rail: str, language: str = "") -> str:
        """What the caller is told when that rail decides; in the language, else the pack's first."""
        found = next((rule.rail for rule in self.rules if rule.rail.id == rail), None)
        if found is None or not found.message:
            return ""
        wanted = [language, *self.pack.languages, "en"]
        return next((found.message[name] for name in wanted if name in found.message), "") or next(
            iter(found.message.values())
        )


def compile_document(document: bytes, detectors: Mapping[str, Factory], resources: Resources) -> Policy:
    """The policy of a YAML document. Raises PackError."""
    return compile_pack(read_pack(document), digest_of(document), detectors, resources)


def compile_pack(pack: Pack, digest: str, detectors: Mapping[str, Factory], resources: Resources) -> Policy:
    """The policy of a pack. Raises PackError for what its schema can't know."""
    _check_references(pack)
    built: dict[bytes, Detector | SlowDetector] = {}
    return Policy(pack, digest, tuple(_rule(rail, detectors, resources, built) for rail in pack.rails))


def window_of(detector: object) -> int:
    """How much text a detector needs around a place, in code points."""
    return int(getattr(detector, "window", WINDOW))


def applies(rule: Rule, facts: Facts) -> bool:
    """Whether the rule is to run for such a call. Raises ConditionFailed."""
    return rule.condition.asks_findings or rule.condition.holds(facts)


def _rule(
    rail: Rail,
    detectors: Mapping[str, Factory],
    resources: Resources,
    built: dict[bytes, Detector | SlowDetector],
) -> Rule:
    compiled = condition(rail.when)
    if rail.detector is None:
        if rail.action == "redact":
            raise PackError(f"the rail `{rail.id}` redacts, but has no detector that says what")
        return Rule(rail, rail.sides, compiled, None, (), False, 0)
    wanted = rail.detector
    factory = detectors.get(wanted.use)
    if factory is None:
        near = difflib.get_close_matches(wanted.use, detectors, n=1, cutoff=0)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise PackError(f"the rail `{rail.id}` uses the detector `{wanted.use}`, which is not there{hint}")
    options = dict(wanted.options) | ({"kinds": list(wanted.kinds)} if wanted.kinds else {})
    key = _encode([wanted.use, options])
    detector = built.get(key)
    if detector is None:
        try:
            detector = built[key] = factory(options, resources)
        except (ValueError, TypeError, KeyError) as error:
            raise PackError(f"the rail `{rail.id}`, detector `{wanted.use}`: {error}") from error
    slow = bool(getattr(detector, "slow", False))
    return Rule(rail, rail.sides, compiled, detector, tuple(wanted.kinds), slow, window_of(detector))


def _check_references(pack: Pack) -> None:
    names = [rail.id for rail in pack.rails]
    for name in names:
        if names.count(name) > 1:
            raise PackError(f"two rails are called `{name}`")
    for number, example in enumerate(pack.examples):
        for name in example.acts:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                raise PackError(f"examples[{number}] expects the rail `{name}`, which is not there{hint}")
        for piece in example.finds:
            if piece not in example.text:
                raise PackError(f"examples[{number}] finds {piece[:40]!r}, which its text does not hold")


__all__ = [
    "WINDOW",
    "ConditionFailed",
    "Policy",
    "Rule",
    "applies",
    "compile_document",
    "compile_pack",
    "window_of",
]
