"""What is counted where an engine did not count: never nothing for work, never more than was reserved."""

from typing import Any

import pytest

from regalia.engines import Result
from regalia.ledger import Settlement
from regalia.metering.estimate import at_most, within
from regalia.metering.recorded import recorded_usage

TEXT = "x" * 400
CHAT = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}


def test_what_the_engine_counted_stays_as_it_is() -> None:
    used = Result(input=10_000, output=999_999)
    assert within("chat.completions", {**CHAT, "max_tokens": 1}, 500, used) is used


@pytest.mark.parametrize(
    ("route", "document", "written", "read", "counted"),
    [
        ("chat.completions", CHAT, 7, 100, 7),
        ("chat.completions", {**CHAT, "max_tokens": 3, "n": 2}, 7, 100, 6),
        ("completions", {"prompt": [1, 2, 3], "max_tokens": 9}, 7, 3, 7),
        ("responses", {"input": TEXT, "instructions": "abcd", "max_output_tokens": 0}, 7, 101, 0),
        ("embeddings", {"input": [TEXT, TEXT]}, 0, 200, 0),
    ],
)
def test_an_estimate_is_of_the_texts_and_within_the_reservation(
    route: str, document: dict[str, Any], written: int, read: int, counted: int
) -> None:
    size = 900
    used = within(route, document, size, Result(output=written, estimated=True))
    assert (used.input, used.output, used.estimated) == (read, counted, True)
    most = at_most(route, document, size, 4096)
    assert used.input <= most.input
    assert used.output <= most.output


def test_an_input_that_the_engine_said_is_kept_beside_an_assumed_output() -> None:
    used = within("chat.completions", CHAT, 500, Result(input=64, output=7, estimated=True))
    assert (used.input, used.output) == (64, 7)


def test_the_record_says_what_is_an_estimate() -> None:
    settlement = Settlement(
        "2026-01-01",
        "org",
        "project",
        "key",
        "",
        "chat.completions",
        "m",
        "",
        "",
        input=5,
        cached=0,
        output=2,
        cost=0,
    )
    assert recorded_usage(settlement) == {"input": 5, "output": 2, "total": 7}
    assert recorded_usage(settlement, estimated=True)["counted"] == "estimate"
