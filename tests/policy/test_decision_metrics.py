"""What rails decide is counted by kind of detector, action and mode; never by whom it is about."""

import pytest
from prometheus_client import generate_latest

from policy.conftest import House
from policy.policy_kit import SECRET, rail, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


def counted(house: House, kind: str, action: str, mode: str) -> float:
    labels = {"rail_kind": kind, "action": action, "mode": mode}
    registry = house.gateway._metrics.registry
    return registry.get_sample_value("regalia_policy_decisions_total", labels) or 0.0


@pytest.mark.parametrize("stream", [False, True])
async def test_decisions_are_counted_once_a_call_and_rail_that_acted(house: House, stream: bool) -> None:
    flagged = {"id": "everything", "on": "input", "action": "flag", "when": 'route == "chat.completions"'}
    house.reset(
        {**rail("block"), "id": "tried", "mode": "shadow"},
        rail("redact"),
        {**rail("redact", "output"), "id": "after"},
        flagged,
    )
    house.engine.says = [f"I know {SECRET}", " well."]
    looked_at = [
        ("words", "block", "shadow", 1),
        ("words", "redact", "enforce", 2),
        ("condition", "flag", "enforce", 1),
    ]
    before = [counted(house, *labels) for *labels, _ in looked_at]
    _, error = await house.call("chat.completions", request("chat.completions", SECRET, stream))
    assert error is None
    after = [counted(house, *labels) for *labels, _ in looked_at]
    assert [now - then for now, then in zip(after, before, strict=True)] == [one[-1] for one in looked_at]
    house.engine.says = ["Fine."]
    await house.call("chat.completions", request("chat.completions", "Fine.", stream))
    assert counted(house, "words", "redact", "enforce") == after[1]
    assert counted(house, "condition", "flag", "enforce") == after[2] + 1


async def test_a_call_that_is_blocked_is_counted_and_nothing_of_it_is_told(house: House) -> None:
    house.reset(rail("block"))
    before = counted(house, "words", "block", "enforce")
    _, error = await house.call("chat.completions", request("chat.completions", SECRET))
    assert error is not None
    assert counted(house, "words", "block", "enforce") == before + 1
    told = generate_latest(house.gateway._metrics.registry).decode()
    lines = [line for line in told.splitlines() if line.startswith("regalia_policy_decisions_total")]
    assert lines
    assert SECRET not in told
