"""The detector `topics`: what a text is about, told by example sentences in any language.

`options.topics` names topics, each with a few examples: a text that is like one has the finding `topic.NAME`.
`options.allow` names topics in the same way, for a list of what a text must be about: where none of them is
reached, the finding is `topic.none`. The examples are embedded once, when the pack takes force.

A text is read in the stretches of `semantic`. How alike a stretch is to a topic is the mean of two cosines in
the centred space (`regalia.policy.meaning`): to the nearest example, and to the middle of all of them. The
score is 0.5 at THRESHOLD.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from regalia.policy.detector import Resources
from regalia.policy.finding import Finding
from regalia.policy.meaning import Meaning, Vector, cosine, scaled
from regalia.policy.meaning.space import unit
from regalia.policy.semantic.windows import windows

NAME = "topics"
OFF_TOPIC = "topic.none"
THRESHOLD, SLOPE = 0.30, 0.04
RIVAL = 0.10
"""A stretch is told of the topic that it is most like, and of others only where they come as near as this."""

LOWEST = 0.2
"""Scores below this are no findings, whatever a rail's `min_score` is."""

MAX_TOPICS, MAX_EXAMPLES, MAX_EXAMPLE = 32, 32, 400
MAX_IN_ALL = 256
"""Examples of all topics of a rail together: more would take too long to embed."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
Topics = Mapping[str, tuple[str, ...]]


class Topic(msgspec.Struct, frozen=True, eq=False):
    """A topic in the space: its examples, and their middle."""

    examples: tuple[Vector, ...]
    middle: Vector

    def likeness(self, vector: Vector) -> float:
        """How alike a stretch is to it."""
        nearest = max(cosine(vector, example) for example in self.examples)
        return (nearest + cosine(vector, self.middle)) / 2


class TopicDetector:
    """Finds `topics`, and texts that are about none of `allow`, as far as `kinds` asks for them."""

    name = NAME
    slow = True

    def __init__(self, meaning: Meaning, topics: Topics, allow: Topics, kinds: Sequence[str] = ()) -> None:
        self._meaning = meaning
        self._topics = {name: texts for name, texts in topics.items() if _wants(kinds, f"topic.{name}")}
        self._allow = allow if _wants(kinds, OFF_TOPIC) else {}
        self._known: dict[str, Topic] = {}
        self._learning: asyncio.Future[None] | None = None

    async def prepare(self) -> None:
        """Embed the examples, once. Raises what the engine raises; the next one who asks tries again."""
        if self._known:
            return
        learning = self._learning
        if learning is None or learning.done():
            learning = self._learning = asyncio.ensure_future(self._learn())
            learning.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(learning)  # a rail whose time is over does not make the next one begin anew

    async def find(self, text: str) -> list[Finding]:
        """For each stretch the topics that it is like, and whether it is about nothing that is allowed."""
        spans = [span for span in windows(text) if any(map(str.isalpha, text[slice(*span)]))]
        if not spans or not (self._topics or self._allow):
            return []
        await self.prepare()
        vectors = await self._meaning.vectors([text[start:end] for start, end in spans])
        judged = map(self._judged, spans, vectors)
        return [finding for found in judged for finding in found]

    def _judged(self, span: tuple[int, int], vector: Vector) -> list[Finding]:
        alike = {name: topic.likeness(vector) for name, topic in self._known.items()}
        scores = {name: scaled(likeness, THRESHOLD, SLOPE) for name, likeness in alike.items()}
        nearest = max((alike[name] for name in self._topics), default=0.0)
        found = [
            Finding(f"topic.{name}", *span, scores[name], "model", NAME)
            for name in self._topics
            if scores[name] >= LOWEST and alike[name] > nearest - RIVAL
        ]
        if self._allow and (best := max(scores[_allowed(name)] for name in self._allow)) < 1 - LOWEST:
            found.append(Finding(OFF_TOPIC, *span, round(1 - best, 3), "model", NAME))
        return found

    async def _learn(self) -> None:
        known: dict[str, Topic] = {}
        allowed = {_allowed(name): texts for name, texts in self._allow.items()}
        for name, texts in {**self._topics, **allowed}.items():
            vectors = await self._meaning.vectors(texts)
            middle = [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
            known[name] = Topic(tuple(vectors), unit(middle))
        self._known = known


def _allowed(name: str) -> str:
    """What an allowed topic is kept under: one that is to be found may have the same name."""
    return f"allow {name}"


def _wants(kinds: Sequence[str], kind: str) -> bool:
    return not kinds or any(fnmatchcase(kind, one) for one in kinds)


def make(options: Mapping[str, Any], resources: Resources) -> TopicDetector:
    """The factory that packs use. Raises ValueError, also where the instance has no embedding engine."""
    if unknown := set(options) - {"topics", "allow", "kinds"}:
        raise ValueError(
            f"the detector {NAME} has no option {', '.join(sorted(unknown))}; it has: topics, allow"
        )
    topics, allow = (_checked(key, options.get(key, {})) for key in ("topics", "allow"))
    if not topics and not allow:
        raise ValueError(f"the detector {NAME} needs the option topics or allow: names with examples")
    if sum(map(len, [*topics.values(), *allow.values()])) > MAX_IN_ALL:
        raise ValueError(f"the detector {NAME} takes {MAX_IN_ALL} examples in all")
    if resources.meaning is None:
        raise ValueError(
            f"the detector {NAME} needs the embedding engine, which `embeddings: false` turns off"
        )
    return TopicDetector(resources.meaning, topics, allow, tuple(options.get("kinds", ())))


def _checked(key: str, given: object) -> Topics:
    """The topics of one list. Raises ValueError."""
    if not isinstance(given, Mapping) or len(given) > MAX_TOPICS:
        raise ValueError(f"the option {key} holds up to {MAX_TOPICS} topics, each with a list of examples")
    return {_name(name): _examples(name, texts) for name, texts in given.items()}


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "none":
        raise ValueError(
            f"a topic is called {name!r}: lower-case letters, digits, - and _ make a name, but not `none`"
        )
    return name


def _examples(name: object, texts: object) -> tuple[str, ...]:
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_EXAMPLES:
        raise ValueError(f"the topic {name} needs a list of 1 to {MAX_EXAMPLES} example sentences")
    for text in texts:
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_EXAMPLE:
            raise ValueError(f"an example of the topic {name} is no text of up to {MAX_EXAMPLE} characters")
    return tuple(texts)
