"""Rails that cost time, rails that fail, texts that are long, records that stay small."""

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from policy.conftest import House
from policy.policy_kit import RESULT, SECRET, compiled, rail, request
from regalia.engines import EngineReported, Reply, Result, Work
from regalia.gateway.guard import MAX_TOLD, CallGuard
from regalia.gateway.guard_outcome import PolicyBlocked
from regalia.gateway.guarded import beside
from regalia.policy.condition import Facts
from regalia.policy.decide import Decision, Ran
from regalia.policy.detector import MAX_TEXT, OVERLAP
from regalia.policy.finding import Finding
from regalia.policy.scan import Text, pieces, scan_quick, spell_out, views_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
SLOW = {**rail("block", use="slow-words"), "detector": {"use": "slow-words", "options": {"pause": 0.05}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", ["Fine.", SECRET])
async def test_a_call_under_a_policy_leaves_nothing_to_the_garbage_collector(
    house: House, monkeypatch: pytest.MonkeyPatch, stream: bool, said: str
) -> None:
    guards: list[weakref.ref[CallGuard]] = []
    enter = CallGuard.enter

    def noting(self: CallGuard, *told: Any) -> CallGuard:
        guards.append(weakref.ref(self))
        return enter(self, *told)

    monkeypatch.setattr(CallGuard, "enter", noting)
    house.reset(rail("redact"))
    house.engine.says = ["Hello ", "there."]
    gc.disable()
    try:
        _, error = await house.call("chat.completions", request("chat.completions", said, stream))
        await asyncio.sleep(0)
        left = [guard() for guard in guards]
    finally:
        gc.enable()
    assert error is None
    assert left == [None]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rail_that_costs_time_runs_beside_the_engine_and_the_first_byte_waits(
    house: House, stream: bool
) -> None:
    house.reset(SLOW)
    house.engine.says = ["Hello ", "there."] * 100
    client, error = await house.call("chat.completions", request("chat.completions", SECRET, stream))
    assert isinstance(error, PolicyBlocked)
    assert house.engine.asked, "the engine was asked meanwhile"
    assert not client.begun
    assert house.outcome["kind"] == "call.refused"
    client, error = await house.call("chat.completions", request("chat.completions", "Fine.", stream))
    assert error is None
    assert client.text == "Hello there." * 100


async def test_a_slow_rail_that_redacts_runs_before_the_engine(house: House) -> None:
    house.reset(rail("redact", use="slow-words"))
    await house.call("chat.completions", request("chat.completions", SECRET))
    assert SECRET not in json.dumps(house.engine.asked)


async def test_a_rail_that_takes_too_long_fails(house: House) -> None:
    late = {**SLOW, "detector": {"use": "slow-words", "options": {"pause": 5}}, "timeout_ms": 20}
    house.reset(late)
    _, error = await house.call("chat.completions", request("chat.completions", "Fine."))
    assert isinstance(error, PolicyBlocked)
    assert house.outcome["policy"]["rails"][0]["failed"] == "timeout"


async def test_a_verdict_ends_the_engines_work_and_the_engines_failure_ends_the_verdict() -> None:
    ended: list[str] = []

    async def work(pause: float) -> int:
        try:
            await asyncio.sleep(pause)
        finally:
            ended.append("work")
        return 7

    async def verdict(pause: float, problem: Exception | None = None) -> None:
        try:
            await asyncio.sleep(pause)
        finally:
            ended.append("verdict")
        if problem is not None:
            raise problem

    assert await beside(work(0.0), verdict(0.01)) == 7
    with pytest.raises(PolicyBlocked):
        await beside(work(60), verdict(0.0, PolicyBlocked("r", "")))
    task = asyncio.ensure_future(beside(work(60), verdict(60)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["verdict"] * 3 + ["work"] * 3


async def test_quick_rails_are_stopped_between_pieces_when_their_time_is_over() -> None:
    ticks = iter(range(10_000))
    policy = compiled({**rail("flag"), "timeout_ms": 3000})
    text = Text("x" * (MAX_TEXT * 8), frozenset({"input"}))
    scans = scan_quick(policy.rules, Facts(), [text], lambda: next(ticks))
    assert scans["flag-it"].failure == "timeout"
    assert next(ticks) < 10, "and the rest was not looked at"


async def test_a_megabyte_is_looked_at_in_pieces_that_share_their_edges() -> None:
    word = "A" * 400
    for at in (MAX_TEXT - 200, MAX_TEXT - OVERLAP, 2 * (MAX_TEXT - OVERLAP) + 1):
        text = "x" * at + word + "y" * 1_000_000
        assert any(word in piece for _, piece in pieces(text))
        assert all(len(piece) <= MAX_TEXT for _, piece in pieces(text))
    policy = compiled({**rail("flag"), "detector": {"use": "words", "options": {"words": {"a": word}}}})
    found = scan_quick(policy.rules, Facts(), [Text(text, frozenset({"input"}))])["flag-it"]
    assert [(hit.finding.start, hit.finding.end) for hit in found.hits] == [(at, at + 400)]


async def test_a_long_prompt_does_not_stop_the_loop(house: House) -> None:
    house.reset(rail("block"))
    _, error = await house.call("chat.completions", request("chat.completions", "x " * 50_000 + SECRET))
    assert isinstance(error, PolicyBlocked)


async def test_findings_in_escapes_are_placed_where_they_stand() -> None:
    text = "a \\u0661\\u0662 b \\ud83d\\ude00 \\udc00 \\u00e9"
    spelled = spell_out(text)
    assert spelled is not None
    assert spelled[0] == "a ١٢ b 😀 \\udc00 é"
    start, end = spelled[1](2, 4)
    assert text[start:end] == "\\u0661\\u0662"
    start, end = spelled[1](7, 8)
    assert text[start:end] == "\\ud83d\\ude00"
    views = views_of(text)
    at = views[1].text.index("12")
    placed = views[1].place(Finding("k", at, at + 2, 1.0, "format", "d"), 0, len(text))
    assert text[placed.start : placed.end] == "\\u0661\\u0662"
    assert spell_out("\\ud800") is None


async def test_what_a_record_says_of_a_policy_is_bounded(house: House) -> None:
    house.reset(rail("flag"))
    policy = house.book.policy
    assert policy is not None
    guard: Any = CallGuard(policy, "tokenize", _nobody(), {"model": "m"}, house.queue, lambda n: b"", "")
    counts = {f"a.very.long.kind.of.finding.{number:030d}": 1 for number in range(17)}
    ran = tuple(
        Ran(f"rail-{number:050d}", "flag", "enforce", "flag", counts, "timeout") for number in range(64)
    )
    guard._input = guard._output = Decision("flag", "", ran)
    told = guard.record()
    assert len(json.dumps(told)) < MAX_TOLD
    assert told["rails"][0]["counts"] == {"all": 17}


def _nobody() -> Any:
    from policy.policy_kit import PRINCIPAL

    return PRINCIPAL


async def test_an_answer_that_is_no_json_is_not_passed_on_unchecked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.reset(rail("block", "output"))

    async def ask(route: str, document: dict[str, Any], work: Work) -> tuple[Reply, Any]:
        return Reply(200, "application/json", b"{" + SECRET.encode()), RESULT

    monkeypatch.setattr(house.engine, "ask", ask)
    client, error = await house.call("chat.completions", request("chat.completions", "hi"))
    assert error is not None
    assert (error.status, error.code) == (502, "engine_failed")
    assert not client.begun


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engines_own_words_do_not_pass_the_rails_by(
    house: House, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """llama.cpp tells what the model said where it can't parse it."""
    house.reset(rail("block", "output"))
    said = json.dumps({"error": {"message": f"can't parse: {SECRET}", "param": SECRET}}).encode()

    async def ask(route: str, document: dict[str, Any], work: Work) -> tuple[Reply, Any]:
        return Reply(500, "application/json", said), RESULT

    monkeypatch.setattr(house.engine, "ask", ask)
    house.engine.events = [(b"", EngineReported(f"can't parse: {SECRET}"))]
    client, error = await house.call("chat.completions", request("chat.completions", "hi", stream))
    assert error is not None
    assert (error.status, error.code) == (502, "engine_failed")
    assert SECRET not in error.body().decode() + client.sent.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("action", ["block", "hold"])
async def test_an_answer_that_a_rail_keeps_counts_what_the_engine_did(
    house: House, action: str, stream: bool
) -> None:
    house.reset(rail(action, "output"))
    house.engine.says = [SECRET]
    _, error = await house.call("chat.completions", request("chat.completions", "hi", stream))
    assert error is not None
    assert house.outcome["kind"] == "call.refused"
    usage = house.outcome["usage"]
    assert (usage["input"], usage["output"]) == (RESULT.input, RESULT.output)


async def test_a_verdict_that_stops_the_engine_counts_what_it_did_until_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.reset(SLOW)

    async def ask(route: str, document: dict[str, Any], work: Work) -> tuple[Reply, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            work.learn(Result(input=9, output=1))
        raise AssertionError

    monkeypatch.setattr(house.engine, "ask", ask)
    _, error = await house.call("chat.completions", request("chat.completions", SECRET))
    assert isinstance(error, PolicyBlocked)
    assert house.outcome["usage"] == {"input": 9, "output": 1, "total": 10}
