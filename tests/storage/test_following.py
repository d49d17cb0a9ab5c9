"""Whoever follows the database looks again whatever a look has met, and says it once."""

import asyncio

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from regalia.storage import following


async def test_a_look_that_fails_is_told_once_and_followed_by_the_next() -> None:
    answers: list[Exception | None] = [
        None,
        OperationalError("SELECT", {}, Exception("gone")),
        OperationalError("SELECT", {}, Exception("gone")),
        ValueError("a row that nobody foresaw"),
        None,
    ]
    done = asyncio.Event()

    async def look() -> None:
        if not answers:
            done.set()
            return
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    with capture_logs() as logs:
        async with following(look, 0.001, "keys"):
            assert len(answers) == 4
            await asyncio.wait_for(done.wait(), 60)
    told = [(one["event"], one.get("reason"), "exc_info" in one) for one in logs]
    assert told == [
        ("keys can't be read", "OperationalError", False),
        ("keys can't be read", "ValueError", True),
        ("keys can be read again", None, False),
    ]


async def test_what_the_first_look_meets_is_raised() -> None:
    async def look() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        async with following(look, 0.001, "keys"):
            raise AssertionError("the block has begun")
