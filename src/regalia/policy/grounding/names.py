"""Names in a text: words with a capital where no sentence begins, together where they stand together.

Only scripts with capitals have such names. What stands first in a sentence counts only with a capital after
it: then the rest of the sequence is the name.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from regalia.policy.grounding.calendar import MONTHS, WEEKDAYS
from regalia.policy.grounding.numbers import UNITS


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


PARTICLES = _words("of the de la le del der den van von da di dos bin binti bint ibn al el wa na ya ni lil d")
TITLES = _words(
    "mr mrs ms miss dr prof sir madam encik puan tuan cik datuk dato hj hajjah bapak pak ibu bu "
    "bwana bw bi mheshimiwa gavana herr frau monsieur madame senor senora"
)
_NEVER = _words("i ok") | WEEKDAYS | UNITS.keys()
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ENDINGS = ("'s", "’s")
_PEOPLE = ("n", "an", "ian", "ese", "i", "s", "ns", "ans", "ians")
_LONGEST_ACRONYM = 6
_HEADING, _HEADING_SHARE = 6, 0.75
SLACK = 2
"""How many other words may stand between the words of a name in a source."""


class Name(msgspec.Struct, frozen=True):
    """A name at [start, end) of a text; its words as they are compared."""

    start: int
    end: int
    words: tuple[str, ...]


def names(text: str, spans: Sequence[tuple[int, int]], together: bool = False) -> list[Name]:
    """The names in the sentences of a text.

    With `together` only those of two words and more, as for languages that give every noun a capital.
    """
    found = [name for start, end in spans for name in _in_sentence(text, start, end)]
    return [name for name in found if not together or len(name.words) > 1]


def folded(word: str) -> str:
    """A word as it is compared: lower case, without marks and without the genitive's ending."""
    plain = unicodedata.normalize("NFKD", word)
    plain = "".join(one for one in plain if not unicodedata.combining(one)).casefold().replace("đ", "d")
    for ending in _ENDINGS:
        plain = plain.removesuffix(ending)
    return plain


def _in_sentence(text: str, start: int, end: int) -> list[Name]:
    words = list(_WORD.finditer(text, start, end))
    capitals = sum(word.group()[0].isupper() for word in words)
    if len(words) >= _HEADING and capitals > _HEADING_SHARE * len(words):
        return []  # a heading
    found: list[Name] = []
    run: list[re.Match[str]] = []
    for number, word in enumerate(words):
        between = text[words[number - 1].end() : word.start()] if number else ""
        if run and between.strip(" .-'’"):
            _close(found, run)
            run = []
        if word.group()[0].isupper():
            if not _begins(text, start, word.start()):
                run.append(word)
            elif run:
                _close(found, run)
                run = []
        elif run and folded(word.group()) not in PARTICLES:
            _close(found, run)
            run = []
    _close(found, run)
    return found


def _begins(text: str, start: int, at: int) -> bool:
    """Whether a word's capital says nothing: it opens the sentence, a quotation or what follows a colon."""
    before = text[max(start, at - 8) : at].rstrip()
    return not before.strip("\"'“‘«([*#_-•0123456789.) ") or before[-1] in ':"“‘«(*•|'


def _close(found: list[Name], run: list[re.Match[str]]) -> None:
    words = [(word, folded(word.group())) for word in run]
    kept = [(word, plain) for word, plain in words if plain not in TITLES and plain not in _NEVER and plain]
    if kept:
        found.append(Name(kept[0][0].start(), kept[-1][0].end(), tuple(plain for _, plain in kept)))


class Lexicon:
    """The words of some texts, for names to be looked up in."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._places: dict[str, list[int]] = {}
        self.months: set[int] = set()
        initials: list[str] = []
        cased = letters = place = 0
        for text in texts:
            for match in _WORD.finditer(text):
                word = match.group()
                plain = folded(word)
                self._places.setdefault(plain, []).append(place)
                for part in re.split("['’-]", plain) if not plain.isalpha() else ():
                    self._places.setdefault(part, []).append(place)
                letters += len(word)
                cased += len(word) if word[0].islower() or word[0].isupper() else 0
                if word[0].isupper():
                    initials.append(word[0].casefold())
                place += 1
            place += 100  # a name does not run from one source into the next
            initials.append(" ")
        self._initials = "".join(initials)
        self.cased = letters > 0 and cased >= 0.3 * letters
        """Whether the texts have names that can be told by capitals at all."""

    def holds(self, name: Name, months: frozenset[int] | set[int] = frozenset()) -> bool:
        """Whether the name's words stand together here, or it is short for what stands here."""
        if len(name.words) == 1:
            return self._holds_word(name.words[0], months)
        reach = len(name.words) + SLACK
        places = [self._places.get(word) for word in name.words]
        if None in places:
            return False
        return any(all(_near(one or [], place, reach) for one in places) for place in places[0] or ())

    def _holds_word(self, word: str, months: frozenset[int] | set[int]) -> bool:
        if word in self._places or MONTHS.get(word) in months:
            return True
        if 2 <= len(word) <= _LONGEST_ACRONYM and word in self._initials:
            return True
        stems = (word.removesuffix(ending) for ending in _PEOPLE if word.endswith(ending))
        return any(len(stem) >= 4 and stem in self._places for stem in stems)


def _near(places: list[int], place: int, reach: int) -> bool:
    """Whether one of the places, which are in order, is within reach."""
    at = bisect_left(places, place - reach)
    return at < len(places) and places[at] <= place + reach
