"""`regalia policy test`: a pack's own examples, and how well each rail does on them in each language.

For a rail and an example on its side: it acts and should (true positive), acts and should not (false
positive), does not and should (false negative). Precision is the share of its acts that were right, recall
the share of what it should have acted on. A rail in shadow is tested as if it were enforced.
"""

import msgspec

from regalia.policy.compiled import Plan, Policy, Rule
from regalia.policy.condition import Facts
from regalia.policy.decide import decide
from regalia.policy.document import Example, Rail
from regalia.policy.grounding import Sources
from regalia.policy.normalise import normalise
from regalia.policy.scan import Text, scan_all

_SIDES = {
    "input": frozenset({"input"}),
    "retrieved": frozenset({"input", "retrieved"}),
    "output": frozenset({"output"}),
    "tool_calls": frozenset({"input", "output", "tool_calls"}),
}


class Score(msgspec.Struct):
    """How one rail did in one language."""

    rail: str
    language: str
    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float | None:
        """The share of its acts that were right; None where it never acted."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """The share of what it should have acted on; None where there was nothing."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


class Failure(msgspec.Struct, frozen=True):
    """An example that came out otherwise than it says."""

    example: int
    what: str


class Outcome(msgspec.Struct, frozen=True):
    """The whole test."""

    scores: list[Score]
    failures: list[Failure]
    examples: int


async def trial(policy: Policy) -> Outcome:
    """Run a pack's examples. Raises what a detector raises that can't get ready."""
    await policy.prepare()
    scores: dict[tuple[str, str], Score] = {}
    failures: list[Failure] = []
    for number, example in enumerate(policy.pack.examples):
        acted, covered = await _acted(policy, example)
        for rail in policy.pack.rails:
            if not rail.sides & _SIDES[example.on]:
                continue
            score = scores.setdefault((rail.id, example.language), Score(rail.id, example.language))
            wanted, does = rail.id in example.acts, rail.id in acted
            score.right += wanted and does
            score.wrong += does and not wanted
            score.missed += wanted and not does
            if wanted != does:
                said = "did not act" if wanted else "acted"
                failures.append(Failure(number, f"{rail.id} {said} on {example.text[:60]!r}"))
        failures += [
            Failure(number, f"nothing found covers {piece[:40]!r}")
            for piece in example.finds
            if not _is_covered(example.text, piece, covered)
        ]
    ordered = sorted(scores.values(), key=lambda score: (score.rail, score.language))
    return Outcome(ordered, failures, len(policy.pack.examples))


async def _acted(policy: Policy, example: Example) -> tuple[set[str], list[tuple[int, int]]]:
    """The rails that acted on an example, and the spans of what they found."""
    facts = Facts(project=example.project, classification=example.classification, route=example.route)
    sides = _SIDES[example.on]
    texts = [Text(example.text, sides, sources=Sources(example.sources))]
    plan = Plan(policy.pack, [_patient(rule) for rule in policy.plan(sides).rules])
    scans = await scan_all(plan, facts, texts)
    enforced = [_enforced(rail) for rail in policy.pack.rails]
    decision = decide(msgspec.structs.replace(policy.pack, rails=enforced), facts, scans)
    acted = {ran.rail for ran in decision.ran if ran.does and not ran.failure}
    spans = [(hit.finding.start, hit.finding.end)
             for rail in acted if rail in scans for hit in scans[rail].hits]  # fmt: skip
    return acted, spans


def _patient(rule: Rule) -> Rule:
    """The rule with all the time that a rail may have: asked is what it finds, not how fast."""
    return msgspec.structs.replace(rule, rail=msgspec.structs.replace(rule.rail, timeout_ms=30_000))


def _enforced(rail: Rail) -> Rail:
    return rail if rail.mode == "enforce" else msgspec.structs.replace(rail, mode="enforce")


def _is_covered(text: str, piece: str, spans: list[tuple[int, int]]) -> bool:
    start = text.find(piece)
    end = start + len(piece)
    return any(first <= start and end <= last for first, last in spans) or not normalise(piece).text
