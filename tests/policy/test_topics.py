"""Topics by meaning: what is found where, what is bounded, and what happens while the engine is away."""

import asyncio
from typing import Any

import pytest

from regalia.policy.detector import Resources, SlowDetector
from regalia.policy.detectors import DETECTORS
from regalia.policy.detectors.topics import MAX_EXAMPLES, MAX_IN_ALL, MAX_TOPICS
from regalia.policy.meaning import Meaning, cosine, scaled

WORDS = ("bet", "pill", "tax", "sea")


class Engine:
    """Vectors that say which words a text holds, and what was asked for; fails as long as it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False
        self.numbers = 6
        self.gate: asyncio.Event | None = None

    async def embed(self, texts: list[str]) -> list[list[float]]:
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise ConnectionError("no engine")
        self.asked += texts
        return [[0.9, *(0.3 * (word in text) for word in WORDS), 0.1][: self.numbers] for text in texts]


def detector(engine: Engine, **options: Any) -> SlowDetector:
    """The detector over that engine; its background is about nothing."""
    meaning = Meaning(engine.embed, ["one", "two", "sea", "bet pill tax sea"])
    made = DETECTORS["topics"](options, Resources(meaning=meaning))
    assert isinstance(made, SlowDetector)
    return made


GAMBLING = {"gambling": ["a bet", "my bet"]}
TAXES = {"taxes": ["the tax"]}


async def kinds(found: Any) -> set[str]:
    return {one.kind for one in await found if one.score >= 0.5}


async def test_a_topic_is_found_over_the_stretches_that_are_about_it() -> None:
    looks = detector(Engine(), topics=GAMBLING)
    text = "words " * 300 + "bet " * 20 + "words " * 300
    found = [one for one in await looks.find(text) if one.score >= 0.5]
    assert found
    assert {one.kind for one in found} == {"topic.gambling"}
    assert all("bet" in text[one.start : one.end] for one in found)
    assert await kinds(looks.find("a pill")) == set()


async def test_what_is_about_nothing_allowed_is_off_topic() -> None:
    looks = detector(Engine(), allow=GAMBLING | TAXES)
    assert await kinds(looks.find("which bet")) == set()
    assert await kinds(looks.find("which tax")) == set()
    assert await kinds(looks.find("which pill")) == {"topic.none"}
    assert await kinds(looks.find(" 12 345 ")) == set(), "no letters, no topic"


async def test_found_and_allowed_topics_may_be_in_one_rail_and_kinds_choose() -> None:
    both: dict[str, Any] = {"topics": GAMBLING, "allow": TAXES}
    assert await kinds(detector(Engine(), **both).find("a bet")) == {"topic.gambling", "topic.none"}
    assert await kinds(detector(Engine(), **both, kinds=["topic.none"]).find("a bet")) == {"topic.none"}
    gambling = ["topic.gambling"]
    assert await kinds(detector(Engine(), **both, kinds=gambling).find("a bet")) == {*gambling}


async def test_examples_and_background_are_embedded_once() -> None:
    engine = Engine()
    looks = detector(engine, topics=GAMBLING)
    await looks.prepare()  # type: ignore[attr-defined]
    before = len(engine.asked)
    await looks.find("a bet")
    await looks.find("a bet")
    assert engine.asked[before:] == ["a bet", "a bet"]


async def test_an_engine_that_is_away_is_an_error_and_is_asked_again() -> None:
    engine = Engine()
    looks = detector(engine, topics=GAMBLING)
    engine.broken = True
    with pytest.raises(ConnectionError):
        await looks.find("a bet")
    engine.broken = False
    assert await kinds(looks.find("a bet")) == {"topic.gambling"}


async def test_who_can_not_wait_does_not_make_the_next_one_begin_anew() -> None:
    engine = Engine()
    looks = detector(engine, topics=GAMBLING)
    engine.gate = asyncio.Event()
    first = asyncio.ensure_future(looks.find("a bet"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    engine.gate.set()
    assert await kinds(looks.find("a bet")) == {"topic.gambling"}
    assert engine.asked.count("one") == 1, "the background is embedded by whoever asked first"


async def test_vectors_of_another_model_are_refused() -> None:
    engine = Engine()
    meaning = Meaning(engine.embed, ["one", "two"])
    await meaning.space()
    engine.numbers = 2
    with pytest.raises(ValueError, match="2 numbers a text now, and 6 before"):
        await meaning.vectors(["text"])


async def test_the_space_is_centred_and_vectors_have_length_one() -> None:
    meaning = Meaning(Engine().embed, ["bet", "pill"])
    (one,) = await meaning.vectors(["bet tax"])
    assert cosine(one, one) == pytest.approx(1)
    space = await meaning.space()
    assert [sum(column) for column in zip(*space.background, strict=True)] == pytest.approx([0] * 6, abs=1e-9)
    assert scaled(0.3, 0.3, 0.04) == 0.5
    assert scaled(-1, 0.3, 0.04) == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs the option topics or allow"),
        ({"topic": GAMBLING}, "has no option topic"),
        ({"topics": ["gambling"]}, "up to 32 topics"),
        ({"topics": {"none": ["a"]}}, "not `none`"),
        ({"topics": {"Too Free": ["a"]}}, "lower-case"),
        ({"topics": {"a": []}}, "1 to 32 example"),
        ({"topics": {"a": ["x"] * (MAX_EXAMPLES + 1)}}, "1 to 32 example"),
        ({"topics": {"a": [" "]}}, "no text"),
        ({"topics": {"a": ["x" * 401]}}, "up to 400"),
        ({"topics": {f"t{n}": ["a"] for n in range(MAX_TOPICS + 1)}}, "up to 32 topics"),
        ({"topics": {f"t{n}": ["a"] * 20 for n in range(20)}}, f"{MAX_IN_ALL} examples in all"),
    ],
)
def test_an_option_that_can_not_be_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        detector(Engine(), **options)


def test_without_an_embedding_engine_the_detector_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="embeddings: false"):
        DETECTORS["topics"]({"topics": GAMBLING}, Resources())
