"""Conditions in CEL (cel.dev), compiled once, evaluated in bounded time.

A condition sees `project`, `classification`, `route`, `model`, `stream`, `principal` (`id`, `organisation`,
`jurisdiction`, `roles`) and `findings`, a list with one item for each kind and strength found: `kind`,
`strength`, `score` (the highest) and `count`. CEL has no loops but its macros over lists; with at most
MAX_MACROS of them, at most MAX_FINDINGS items and 1,000 characters, a condition ends soon, whatever it says.
"""

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache

import cel
import msgspec

from regalia.policy.errors import PackError

MAX_MACROS = 2
MAX_FINDINGS = 64
VARIABLES = ("project", "classification", "route", "model", "stream", "principal", "findings")
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter|sortBy|transform\w*)\s*\(\s*([A-Za-z_]\w*)")


class Facts(msgspec.Struct, frozen=True):
    """What is known of a call before anything is looked for in it."""

    project: str = "default"
    classification: str = ""
    route: str = "chat.completions"
    model: str = ""
    stream: bool = False
    principal: str = ""
    organisation: str = ""
    jurisdiction: str = ""
    roles: tuple[str, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """What a condition sees of the findings of one kind and strength."""

    kind: str
    strength: str
    score: float
    count: int


class ConditionFailed(Exception):
    """A condition that has no answer: it compares what can't be compared, or asks for what is not there."""


class Condition:
    """A compiled condition. `asks_findings` is False where its answer depends on the call alone."""

    __slots__ = ("_known", "_program", "asks_findings", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._known: dict[Facts, bool] = {}
        self._program: cel.Program | None = None
        self.asks_findings = False
        if not source.strip():
            return
        bound = _MACRO.findall(source)
        if len(bound) > MAX_MACROS:
            raise PackError(f"the condition `{source[:80]}` has more than {MAX_MACROS} macros over lists")
        try:
            self._program = cel.compile(source)
            names = self._program.variables()
        except (ValueError, RuntimeError, TypeError) as error:
            what = " ".join(str(error).split())[:200]
            raise PackError(f"the condition `{source[:80]}` is not CEL: {what}") from error
        for name in names:
            if name not in VARIABLES and name not in bound:
                near = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0)[0]
                raise PackError(
                    f"the condition `{source[:80]}` knows no `{name}`; did you mean `{near}`? "
                    f"There are {', '.join(VARIABLES)}"
                )
        self.asks_findings = "findings" in names

    def holds(self, facts: Facts, findings: Sequence[Summary] = ()) -> bool:
        """Whether it holds. Raises ConditionFailed."""
        program = self._program
        if program is None:
            return True
        if self.asks_findings:
            return _evaluate(program, facts, findings)
        known = self._known.get(facts)
        if known is None:
            if len(self._known) >= 1024:  # a bound, not a tuning
                self._known.clear()
            known = self._known[facts] = _evaluate(program, facts, ())
        return known


def _evaluate(program: cel.Program, facts: Facts, findings: Sequence[Summary]) -> bool:
    try:
        answer = program.execute(_context(facts, findings))
    except Exception as error:  # the library raises whatever fits; all of it means "no answer"
        raise ConditionFailed(f"{type(error).__name__}: {error}"[:200]) from error
    if type(answer) is not bool:
        raise ConditionFailed(f"the condition gives {type(answer).__name__}, not true or false")
    return answer


@lru_cache(maxsize=1024)
def condition(source: str) -> Condition:
    """The condition, compiled at most once. Raises PackError."""
    return Condition(source)


def _context(facts: Facts, findings: Sequence[Summary]) -> dict[str, object]:
    return {
        "project": facts.project,
        "classification": facts.classification,
        "route": facts.route,
        "model": facts.model,
        "stream": facts.stream,
        "principal": {
            "id": facts.principal,
            "organisation": facts.organisation,
            "jurisdiction": facts.jurisdiction,
            "roles": list(facts.roles),
        },
        "findings": [
            {"kind": item.kind, "strength": item.strength, "score": item.score, "count": item.count}
            for item in findings[:MAX_FINDINGS]
        ],
    }
