"""The decision and the conditions: pure functions, tried by example and by property."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.policy_kit import compiled, pack, rail
from regalia.policy.compiled import applies
from regalia.policy.condition import Condition, ConditionFailed, Facts
from regalia.policy.decide import Decision, Hit, Scan, decide
from regalia.policy.document import ACTIONS, Pack
from regalia.policy.errors import PackError
from regalia.policy.finding import Finding
from regalia.policy.reading import read_pack

FACTS = Facts(project="clinic", classification="secret", route="embeddings")


def hit(
    start: int = 0, end: int = 4, kind: str = "ke.id", strength: Any = "format", score: float = 0.9
) -> Hit:
    return Hit(0, Finding(kind, start, end, score, strength, "d"))


def decided(scans: dict[str, Scan], *rails: dict[str, Any]) -> Decision:
    return decide(read_pack(pack(*rails)), FACTS, scans)


def test_the_strictest_enforced_action_decides_and_the_first_of_equals_is_told() -> None:
    rails = [{**rail(action), "id": action} for action in ("flag", "hold", "redact", "block")]
    rails.append({**rail("block"), "id": "second"})
    found = Scan((hit(),))
    assert decided({one["id"]: found for one in rails}, *rails).decisive == "block"
    assert decided({"flag": found, "redact": found}, *rails).action == "redact"
    assert decided({}, *rails) == Decision()


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_a_shadowed_or_silent_rail_never_decides(drawn: list[tuple[str, bool, bool]]) -> None:
    rails = [
        {**rail(action), "id": f"r{number}", "mode": "shadow" if shadow else "enforce"}
        for number, (action, shadow, _) in enumerate(drawn)
    ]
    scans = {f"r{number}": Scan((hit(number * 10, number * 10 + 4),) if found else ())
             for number, (_, _, found) in enumerate(drawn)}  # fmt: skip
    decision = decided(scans, *rails)
    acting = [action for action, shadow, found in drawn if found and not shadow]
    assert decision.action == max(acting, key=ACTIONS.index, default="allow")
    assert len(decision.ran) == len(drawn)
    assert len(decision.redactions) == acting.count("redact")


def test_what_an_exemption_covers_no_later_rail_counts() -> None:
    rails = [{**rail("allow"), "id": "known"}, {**rail("block"), "id": "any"}]
    scans = {"known": Scan((hit(0, 9),)), "any": Scan((hit(2, 6),))}
    decision = decided(scans, *rails)
    assert (decision.action, decision.ran[1].counts) == ("allow", {})
    assert decided({**scans, "any": Scan((hit(9, 12),))}, *rails).action == "block"
    failed = decided({**scans, "known": Scan((hit(0, 9),), failure="error")}, *rails)
    assert failed.action == "block", "a failing exemption exempts nothing"


@pytest.mark.parametrize("on_failure", ["block", "hold", "flag", "allow"])
def test_a_failed_scan_does_what_its_rail_declares(on_failure: str) -> None:
    declared = {**rail("redact"), "on_failure": on_failure}
    decision = decided({"redact-it": Scan(failure="timeout")}, declared)
    assert (decision.action, decision.ran[0].failure) == (on_failure, "timeout")
    assert decision.redactions == ()


def test_a_condition_without_an_answer_fails_its_rail() -> None:
    declared = {**rail("flag"), "when": "findings[0].nothing == 1"}
    decision = decided({"flag-it": Scan((hit(),))}, declared)
    assert (decision.action, decision.ran[0].failure) == ("block", "condition")


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("", True),
        ('project == "clinic" && classification in ["secret", "restricted"]', True),
        ('route == "chat.completions"', False),
        ('findings.exists(f, f.strength == "checksum")', False),
        ('findings.exists(f, f.kind.startsWith("ke.") && f.count > 1)', True),
        ("size(findings) == 2 && findings[0].score >= 0.9", True),
        ('"auditor" in principal.roles', False),
    ],
)
def test_conditions_see_the_call_and_the_findings(source: str, holds: bool) -> None:
    declared = {**rail("flag"), "when": source}
    scan = Scan((hit(), hit(5, 9), hit(20, 30, "email", "context")))
    assert bool(decided({"flag-it": scan}, declared).ran[0].does) is holds


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 +", "not CEL"),
        ("projekt == 1", "did you mean `project`"),
        ("findings.all(a, findings.all(b, findings.all(c, true)))", "macros"),
    ],
)
def test_a_wrong_condition_says_what_is_wrong(source: str, says: str) -> None:
    with pytest.raises(PackError, match=says):
        Condition(source)


def test_a_condition_must_be_true_or_false() -> None:
    with pytest.raises(ConditionFailed):
        Condition("1").holds(FACTS)


def test_a_rail_whose_condition_needs_no_findings_is_left_out_before_anything_is_looked_for() -> None:
    policy = compiled({**rail("block"), "when": 'route == "chat.completions"'})
    assert not applies(policy.rules[0], FACTS)
    assert applies(policy.rules[0], Facts())


def test_the_decision_takes_plain_data_and_gives_plain_data() -> None:
    import msgspec

    decision = decided({"redact-it": Scan((hit(),))}, rail("redact"))
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision
    assert msgspec.convert(msgspec.to_builtins(read_pack(pack(rail("flag")))), Pack)
