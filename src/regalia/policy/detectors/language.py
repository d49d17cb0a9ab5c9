"""Which language a text is in, from its script and its function words; for rails that allow some languages.

Small on purpose: no model, a few microseconds for a short text. Malay and Indonesian are one group, "ms":
their written forms can't be told apart in a sentence or two. A text without enough evidence (a name, a
number, code) is in no language, and such a rail lets it pass. Of a long text four samples are read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import lcm
from typing import Any

import msgspec

from regalia.policy.detector import Resources
from regalia.policy.detectors.function_words import ARABIC, CYRILLIC, LATIN
from regalia.policy.finding import Finding

NAME = "language"
GROUPS = {"id": "ms", "in": "ms", "zsm": "ms", "zlm": "ms", "cmn": "zh", "yue": "zh", "nb": "no", "nn": "no"}
"""Codes that mean a language of another code here."""

_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("ar", "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"),
    ("zh", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"),
    ("ja", "\u3040-\u30ff\u31f0-\u31ff"),
    ("ko", "\u1100-\u11ff\uac00-\ud7af"),
    ("ta", "\u0b80-\u0bff"),
    ("hi", "\u0900-\u097f"),
    ("bn", "\u0980-\u09ff"),
    ("te", "\u0c00-\u0c7f"),
    ("ml", "\u0d00-\u0d7f"),
    ("th", "\u0e00-\u0e7f"),
    ("my", "\u1000-\u109f"),
    ("km", "\u1780-\u17ff"),
    ("am", "\u1200-\u137f"),
    ("ru", "\u0400-\u04ff"),
    ("el", "\u0370-\u03ff\u1f00-\u1fff"),
    ("he", "\u0590-\u05ff"),
)
_LETTERS_OF = tuple((code, re.compile(f"[{letters}]+")) for code, letters in _SCRIPTS)
_BLOCK = 4
_BLOCKS = {
    block: code
    for code, letters in _SCRIPTS
    for low, high in zip(letters[::3], letters[2::3], strict=True)
    for block in range(ord(low) >> _BLOCK, (ord(high) >> _BLOCK) + 1)
}
"""Scripts by blocks of sixteen code points: to see at a glance which are there at all."""
_NOT_ARABIC = frozenset("پچژگکیٹڈڑےںہ")
"""Letters of Persian and Urdu that Arabic does not use."""
_BEYOND_LATIN = re.compile("[\u0370-\u1cff\u1f00-\u1fff\u3040-\ufefc]")
_LATIN_WORD = re.compile("[a-z\u00df-\u024f\u1ea0-\u1ef9]+")
_WORD = re.compile(r"[^\W\d_]+")
_WEIGHT = {"zh": 2.5, "ja": 2.5, "ko": 2.0}
"""Letters that one character of a script is worth."""

_SAMPLE, _SAMPLES = 1024, 4
_FEWEST_HITS = 2
_FEWEST_LETTERS = 4
_FIRST, _SECOND = 1.3, 0.5
"""How many times as many hits as any other a first language has, and as the first one a second, at least."""
_LARGE_SHARE = 0.3
"""From this share of the letters on, a second language of a text is told as well."""


_ONE = lcm(*range(1, 17))
"""What a word of one language alone counts; one of several counts a whole part of it for each."""

_BEYOND_BITS, _ALONE_BITS = 32, 13
"""One number counts what is asked of a text's words at first: how much they speak for languages that are not
allowed and, above it, for each one that is, how many speak for it alone. In a text of _SAMPLE * _SAMPLES code
points there are less than 2**13 words."""

_FOLDED = bytes(code | 0x20 if chr(code).isascii() and chr(code).isalpha() else 0x20 for code in range(256))
"""ASCII letters in lower case, all else a space: splitting that gives the words of a text in ASCII."""


class Index(msgspec.Struct, frozen=True):
    """Words by the set of languages that they speak for, and what each set says.

    Counting sets instead of words keeps a text's hits few. Sets are numbered from 1 to 255, so that a text's
    hits are a string of bytes. `ascii` is the same as `words`, for bytes.
    """

    words: Mapping[str, int]
    ascii: Mapping[bytes, int]
    says: Sequence[tuple[tuple[str, int], ...]]


def _index(lists: Mapping[str, str]) -> Index:
    """Each word with the languages it speaks for; a word of several speaks for each the less."""
    languages: dict[str, list[str]] = {}
    for language, words in lists.items():
        for word in words.split():
            languages.setdefault(word, []).append(language)
    sets = list(dict.fromkeys(tuple(those) for those in languages.values()))
    numbers = {word: sets.index(tuple(those)) + 1 for word, those in languages.items()}
    return Index(
        words=numbers,
        ascii={word.encode(): number for word, number in numbers.items() if word.isascii()},
        says=[(), *(tuple((one, _ONE // len(those)) for one in those) for those in sets)],
    )


_LATIN_INDEX, _CYRILLIC_INDEX, _ARABIC_INDEX = _index(LATIN), _index(CYRILLIC), _index(ARABIC)


def languages(text: str) -> dict[str, float]:
    """The languages of a text with their shares of its letters, as far as there is evidence."""
    if len(text) <= _SAMPLE * _SAMPLES:
        return _shares(text)
    step = (len(text) - _SAMPLE) // (_SAMPLES - 1)
    found: dict[str, float] = {}
    for at in range(0, step * _SAMPLES, step):
        for code, share in _shares(text[at : at + _SAMPLE]).items():
            found[code] = found.get(code, 0.0) + share / _SAMPLES
    return found


def _shares(text: str) -> dict[str, float]:
    """Languages of a text by their shares of its letters."""
    return _weighed(_read(text))


class Letters(msgspec.Struct, frozen=True, gc=False):
    """What a text is judged by: the sets of its words in Latin script, and its letters by script."""

    sets: bytes
    latin: int
    others: Mapping[str, float] = {}


def _read(text: str) -> Letters:
    """A text's words and letters."""
    if text.isascii():
        folded = text.encode().translate(_FOLDED)
        words = map(_LATIN_INDEX.ascii.get, folded.split())
        return Letters(_sets(words), len(folded) - folded.count(b" "))
    text = text.lower()
    latin = _LATIN_WORD.findall(text)
    others = _by_script(text) if _BEYOND_LATIN.search(text) else {}
    return Letters(_sets(map(_LATIN_INDEX.words.get, latin)), sum(map(len, latin)), others)


def _weighed(read: Letters) -> dict[str, float]:
    """Languages by their shares of the letters."""
    latin, letters, hits = read.latin, read.others, _hits(read.sets, _LATIN_INDEX)
    total = sum(letters.values()) + latin
    if total < _FEWEST_LETTERS:
        return {}
    found = {code: count / total for code, count in letters.items() if count >= _FEWEST_LETTERS}
    if hits:
        first = max(hits, key=hits.__getitem__)
        most, second, rest = hits[first], "", 0
        for code, count in hits.items():
            if count > rest and code != first:
                second, rest = code, count
        if most >= _FEWEST_HITS * _ONE and most >= _FIRST * rest:
            found[first] = latin / total
        if rest >= _FEWEST_HITS * 2 * _ONE and rest >= _SECOND * most:
            # two languages side by side: each has its share of the hits
            both = most + rest
            found[first] = latin / total * most / both
            found[second] = latin / total * rest / both
    return found


def _sets(numbers: Iterable[int | None]) -> bytes:
    """The sets of a text's words, without the words that are in none."""
    return bytes(filter(None, numbers))


def _hits(sets: bytes, index: Index) -> dict[str, int]:
    """How much words, given by their sets, speak for each language."""
    hits: dict[str, int] = {}
    for number in dict.fromkeys(sets):
        count = sets.count(number)
        for language, weight in index.says[number]:
            hits[language] = hits.get(language, 0) + weight * count
    return hits


def _by_script(text: str) -> dict[str, float]:
    """Letters by the language that its script stands for."""
    letters = {}
    characters = set(text)
    present = {_BLOCKS.get(ord(character) >> _BLOCK) for character in characters}
    for code, pattern in _LETTERS_OF:
        if code not in present:
            continue
        if count := sum(map(len, pattern.findall(text))):
            letters[code] = count * _WEIGHT.get(code, 1.0)
    if "ja" in letters and letters["ja"] > 0.1 * letters.get("zh", 0.0):
        letters["ja"] += letters.pop("zh", 0.0)
    if "ru" in letters:
        _decide(text, letters, "ru", _CYRILLIC_INDEX)
    if "ar" in letters and not characters.isdisjoint(_NOT_ARABIC):
        _decide(text, letters, "ar", _ARABIC_INDEX)
    return letters


def _decide(text: str, letters: dict[str, float], code: str, index: Index) -> None:
    """Give a script's letters to the language its words speak for."""
    hits = {code: 0} | _hits(_sets(map(index.words.get, _WORD.findall(text))), index)
    likely = max(hits, key=lambda one: hits[one])
    if likely != code and hits[likely] >= _ONE:
        letters[likely] = letters.pop(code)


class Language:
    """Finds languages other than those allowed; every language where none is named."""

    name = NAME

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = frozenset(group(code) for code in allow)
        says = [dict(one) for one in _LATIN_INDEX.says]
        alone = [n for n, one in enumerate(says) if len(one) == 1 and one.keys() <= self._allowed]
        self._counts = [
            max((one[code] for code in one if code not in self._allowed), default=0) for one in says
        ]
        for place, number in enumerate(alone):
            self._counts[number] = 1 << (_BEYOND_BITS + place * _ALONE_BITS)
        self._of_ascii = {word: count for word, n in _LATIN_INDEX.ascii.items() if (count := self._counts[n])}

    def find(self, text: str) -> list[Finding]:
        """One finding over the whole text for each language, by falling share."""
        if len(text) > _SAMPLE * _SAMPLES:
            shares = languages(text)
        elif text.isascii():
            counts = map(self._of_ascii.get, text.encode().translate(_FOLDED).split())
            if self._is_within(sum(filter(None, counts))):
                return []
            shares = _shares(text)
        else:
            read = _read(text)
            if not read.others and self._is_within(sum(map(self._counts.__getitem__, read.sets))):
                return []
            shares = _weighed(read)
        if shares.keys() <= self._allowed:
            return []
        most = max(shares.values())
        found = []
        for code, share in sorted(shares.items(), key=lambda one: -one[1]):
            if code not in self._allowed and (share == most or share >= _LARGE_SHARE):
                score = round(0.5 + share * 0.45, 2)
                found.append(Finding(f"language.{code}", 0, len(text), score, "model", NAME))
        return found

    def _is_within(self, counted: int) -> bool:
        """Whether it shows without a count by languages that words speak for none but those allowed.

        No language beyond them has more hits than `most`. That is too few for any, or less than half of what
        an allowed one has: then a language beyond is neither the first of the text nor the second.
        """
        most = counted & ((1 << _BEYOND_BITS) - 1)
        if most < _FEWEST_HITS * _ONE:
            return True
        allowed, counted = 0, counted >> _BEYOND_BITS
        while counted:
            allowed = max(allowed, counted & ((1 << _ALONE_BITS) - 1))
            counted >>= _ALONE_BITS
        return most < allowed * _ONE * _SECOND


def group(code: str) -> str:
    """The code under which a language is found: that of its group, without region and script."""
    plain = code.lower().partition("-")[0]
    return GROUPS.get(plain, plain)


def known() -> frozenset[str]:
    """Every code that can be found."""
    return frozenset(LATIN) | {code for code, _ in _SCRIPTS} | frozenset(CYRILLIC) | frozenset(ARABIC)


def make(options: Mapping[str, Any], resources: Resources) -> Language:
    """The factory that packs use: `allow` is a list of language codes."""
    del resources
    if unknown := set(options) - {"allow", "kinds"}:
        raise ValueError(f"the detector {NAME} has no option {', '.join(sorted(unknown))}; it has: allow")
    allow = options.get("allow", [])
    if not isinstance(allow, list) or not all(isinstance(code, str) for code in allow):
        raise ValueError(f"the option allow of the detector {NAME} is a list of codes such as [ms, en]")
    if missing := sorted(code for code in allow if group(code) not in known()):
        raise ValueError(
            f"the detector {NAME} does not know {', '.join(missing)}; it knows {', '.join(sorted(known()))}"
        )
    return Language(allow)
