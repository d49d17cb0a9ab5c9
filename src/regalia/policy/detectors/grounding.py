"""The detector `grounding`: whether an answer keeps to the sources that came with its request.

`grounding.unsupported` is a sentence that is like none of the sources' sentences in meaning;
`grounding.number`, `grounding.date` and `grounding.name` are what the answer states and the sources do not.
Without sources in the request nothing is looked at, but `require: true` finds `grounding.no_sources` then.

The exact checks are pure. The meaning of a sentence needs the embedding engine: some 20 ms a sentence, of
the sources (once a call) and of the answer. Of an answer that still runs only complete sentences are judged;
none is longer than `sentences.LONGEST`, so that WINDOW holds back whatever is not judged yet.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from regalia.policy.detector import MOST_HIDDEN, Resources
from regalia.policy.detectors.language import languages
from regalia.policy.finding import Finding
from regalia.policy.grounding.dates import dates
from regalia.policy.grounding.names import names
from regalia.policy.grounding.numbers import blanked, numbers
from regalia.policy.grounding.sentences import LONGEST, sentences
from regalia.policy.grounding.sources import Sources
from regalia.policy.meaning import Meaning, Vector, cosine, scaled

NAME = "grounding"
UNSUPPORTED, NO_SOURCES = "grounding.unsupported", "grounding.no_sources"
NUMBER, DATE, NAMED = "grounding.number", "grounding.date", "grounding.name"
KINDS = (UNSUPPORTED, NUMBER, DATE, NAMED, NO_SOURCES)

WINDOW = LONGEST + MOST_HIDDEN + 64
"""More than a sentence that is not complete can take up."""

THRESHOLD, SLOPE = 0.15, 0.05
"""Support is the cosine to the nearest sentence of a source, less the noise (`Space.noise`)."""

SMALL_TALK = 0.6
MOST_SENTENCES = 400
"""More sentences than this, in the sources or in an answer, are a failure of the rail."""

MOST_CHARACTERS = 262_144
"""More characters than this in the sources, or in an answer, are one as well."""

_FEWEST_LETTERS = 16
_SCORES = {NUMBER: 0.9, DATE: 0.9, NAMED: 0.6}
_TALK = (
    "Here is a summary of the documents.",
    "According to the sources, I can tell you the following.",
    "I hope this helps.",
    "Let me know if you have any further questions.",
    "I could not find this in the documents.",
    "Sorry, I can't answer that.",
    "Sila hubungi saya jika anda ada soalan lain.",
    "هل يمكنني مساعدتك في شيء آخر؟",
    "Tafadhali niulize ikiwa una swali lingine.",
    "Hãy cho tôi biết nếu bạn cần thêm thông tin.",
    "希望这些信息对您有帮助。",
    "வேறு ஏதேனும் உதவி வேண்டுமா?",
)
"""What an assistant says that states nothing."""

_PLACEHOLDER = re.compile(r"⟦[A-Z0-9_]{1,70}⟧")
_MARKERS = re.compile(
    r"\[[0-9]{1,3}(?:[,-] ?[0-9]{1,3}){0,8}\]"  # a citation
    r"|^[ \t]*+(?:[-*•#]+[ \t]*+)?\(?[0-9]{1,2}[.)](?=\s)",  # an item of a list
    re.MULTILINE,
)
_WIDE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class GroundingDetector:
    """Looks for `kinds` (all when empty). `wide` lets facts stand on anything that the request says."""

    name = NAME
    slow = True
    grounded = True
    window = WINDOW

    def __init__(
        self, meaning: Meaning | None, kinds: Sequence[str] = (), *, require: bool = False, wide: bool = False
    ) -> None:
        self._meaning = meaning if _wants(kinds, UNSUPPORTED) else None
        self._facts = frozenset(kind for kind in _SCORES if _wants(kinds, kind))
        self._require = require and _wants(kinds, NO_SOURCES)
        self._wide = wide
        self._talk: list[Vector] = []

    async def prepare(self) -> None:
        """Embed what is the same for every call. Raises what the engine raises."""
        if self._meaning is not None and not self._talk:
            self._talk = await self._meaning.vectors(_TALK)

    async def find(self, text: str) -> list[Finding]:
        """Nothing: without sources there is nothing to hold a text against."""
        return await self.find_grounded(text, Sources(()), ended=True)

    async def find_grounded(self, text: str, sources: Sources, *, ended: bool) -> list[Finding]:
        """What of a normalised answer its sources do not say.

        The last sentence of one that has not ended is left for later. Raises ValueError where there is too
        much to look at, and what the engine raises.
        """
        if not text.strip():
            return []
        if not sources:
            return [Finding(NO_SOURCES, 0, len(text), 1.0, "format", NAME)] if self._require else []
        if max(len(text), sum(map(len, sources.texts))) > MOST_CHARACTERS:
            raise ValueError(f"grounding reads up to {MOST_CHARACTERS} characters of sources")
        spans = sentences(text)
        if not ended:
            spans = spans[:-1]
        if not spans:
            return []
        found: list[Finding] = []
        if self._facts:
            found = await asyncio.to_thread(self._stated, text[: spans[-1][1]], spans, sources)
        if self._meaning is not None:
            found += await self._unsupported(text, spans, sources)
        return found

    def _stated(self, text: str, spans: list[tuple[int, int]], sources: Sources) -> list[Finding]:
        """The numbers, dates and names that no source has."""
        known = sources.widened if self._wide else sources
        text = _PLACEHOLDER.sub(_spaces, text)
        plain = _MARKERS.sub(_spaces, text)
        dated = dates(plain)
        missing = [Finding(DATE, one.start, one.end, _SCORES[DATE], "format", NAME)
                   for one in dated if DATE in self._facts and not known.supports_date(one)]  # fmt: skip
        if NUMBER in self._facts:
            plain = blanked(plain, [(one.start, one.end) for one in dated])
            missing += [Finding(NUMBER, one.start, one.end, _SCORES[NUMBER], "format", NAME)
                        for one in numbers(plain) if not known.supports_number(one)]  # fmt: skip
        if NAMED in self._facts:
            text = blanked(text, [(one.start, one.end) for one in dated])
            together = max(languages(text).items(), key=lambda one: one[1], default=("", 0))[0] == "de"
            missing += [Finding(NAMED, one.start, one.end, _SCORES[NAMED], "format", NAME)
                        for one in names(text, spans, together) if not known.supports_name(one)]  # fmt: skip
        return missing

    async def _unsupported(self, text: str, spans: list[tuple[int, int]], sources: Sources) -> list[Finding]:
        """The sentences that are like nothing in the sources."""
        claims = [span for span in spans if _claims(text[slice(*span)])]
        if not claims:
            return []
        if max(len(sources.sentences), len(claims)) > MOST_SENTENCES:
            raise ValueError(f"grounding holds up to {MOST_SENTENCES} sentences against as many")
        fresh = [one for start, end in claims if (one := text[start:end]) not in sources.judged]
        if fresh:
            await self._embed([*sources.sentences, *fresh], sources)
            judge = await self._judge(sources)
            sources.judged |= await asyncio.to_thread(lambda: {one: judge(one) for one in fresh})
        return [Finding(UNSUPPORTED, start, end, score, "model", NAME)
                for start, end in claims if (score := sources.judged[text[start:end]]) > 0]  # fmt: skip

    async def _embed(self, texts: list[str], sources: Sources) -> None:
        """See that the call's memory has the vectors of these texts."""
        if self._meaning is None:
            raise ValueError("the meaning of a sentence needs the embedding engine")
        await self.prepare()
        fresh = [text for text in dict.fromkeys(texts) if text not in sources.vectors]
        if fresh:
            sources.vectors |= zip(fresh, await self._meaning.vectors(fresh), strict=True)

    async def _judge(self, sources: Sources) -> Callable[[str], float]:
        """What gives a sentence's score; it computes for milliseconds."""
        if self._meaning is None:
            raise ValueError("the meaning of a sentence needs the embedding engine")
        space = await self._meaning.space()
        given = [sources.vectors[sentence] for sentence in sources.sentences]

        def judge(sentence: str) -> float:
            vector = sources.vectors[sentence]
            nearest = max(cosine(vector, other) for other in given)
            if max(cosine(vector, other) for other in self._talk) > max(SMALL_TALK, nearest):
                return 0.0
            return scaled(THRESHOLD - (nearest - space.noise(vector)), 0.0, SLOPE)

        return judge


def _claims(sentence: str) -> bool:
    """Whether a sentence is long enough to state something, and is no question."""
    letters = sum(map(str.isalpha, sentence))
    letters += 2 * len(_WIDE.findall(sentence))
    return letters >= _FEWEST_LETTERS and sentence[-1] not in "?؟"


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _wants(kinds: Sequence[str], kind: str) -> bool:
    return not kinds or any(fnmatchcase(kind, one) for one in kinds)


def make(options: Mapping[str, Any], resources: Resources) -> GroundingDetector:
    """The factory that packs use. Raises ValueError."""
    if unknown := set(options) - {"require", "facts_from", "kinds"}:
        raise ValueError(
            f"the detector {NAME} has no option {', '.join(sorted(unknown))}; it has: require, facts_from"
        )
    require, facts_from = options.get("require", False), options.get("facts_from", "sources")
    if require not in (True, False):
        raise ValueError(f"the option require of the detector {NAME} is true or false")
    if facts_from not in ("sources", "request"):
        raise ValueError(f"the option facts_from of the detector {NAME} is sources or request")
    kinds = tuple(options.get("kinds", ()))
    if _wants(kinds, UNSUPPORTED) and resources.meaning is None:
        raise ValueError(
            f"the kind {UNSUPPORTED} needs the embedding engine, which `embeddings: false` turns off; "
            f"the rail's `kinds` may name the others alone"
        )
    return GroundingDetector(resources.meaning, kinds, require=require, wide=facts_from == "request")
