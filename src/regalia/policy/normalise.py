"""Text as detectors read it: nothing in Unicode can hide a finding, and every finding maps back.

What is folded, one code point for one: decimal digits of every script to 0-9, full-width and other
compatibility forms of ASCII to ASCII, every space to U+0020, every dash to "-", Cyrillic and Greek letters
that look Latin to Latin where they stand in one token with ASCII digits. What is removed: zero-width and
bidirectional controls, tags, variation selectors, fillers, and marks set over digits and Latin letters.
A letter with its combining marks becomes one precomposed letter where there is one (NFC). Compatibility
forms that expand to several characters ("ﬁ", "㎏") stay as they are: so a normalised text is never longer
than the original, and a position in it stands for one position there.

A text in ASCII is returned at once.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

MARKS = "\u0300-\u036f\u20d0-\u20ff"
_REMOVED = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F),
    (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E),
    (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFB), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u207b\u208b\u2212\u2796\ufe58\ufe63\uff0d"
_DOTS = {
    "\u066b": ".",
    "\u066c": ",",
    "\u2024": ".",
    "\u3002": ".",
    "\uff61": ".",
    "\u2044": "/",
    "\u2215": "/",
}
_COMPATIBLE = ((0xB2, 0xB3), (0xB9, 0xB9), (0x2070, 0x209C), (0x2100, 0x214F), (0x2460, 0x24FF),
               (0x2776, 0x2793), (0xFE50, 0xFE6F), (0xFF01, 0xFFEE), (0x1D400, 0x1D7FF),
               (0x1F100, 0x1F189), (0x1FBF0, 0x1FBF9))  # fmt: skip
_DINGBATS = {0x2776 + n + 10 * row: str(n + 1) for row in range(3) for n in range(9)}
_LATIN = str.maketrans(
    "АВЕКМНОРСТУХЅІЈаеорсухѕіј" "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "ABEKMHOPCTYXSIJaeopcyxsij" "ABEZHIKMNOPTYX",
)  # fmt: skip


def _decimals() -> Iterator[int]:
    """Every decimal digit beyond ASCII: all of them lie below U+20000."""
    return (code for code in range(0x660, 0x20000) if chr(code).isdecimal())


def _folding() -> dict[str, str]:
    """Each code point that is replaced or removed, with the one or no character it becomes."""
    folded = {chr(code): "" for low, high in _REMOVED for code in range(low, high + 1)}
    for low, high in _COMPATIBLE:
        for code in range(low, high + 1):
            plain = unicodedata.normalize("NFKC", chr(code))
            if len(plain) == 1 and plain.isascii():
                folded[chr(code)] = plain
    folded |= {chr(code): digit for code, digit in _DINGBATS.items()}
    folded |= {chr(code): str(unicodedata.decimal(chr(code))) for code in _decimals()}
    folded |= dict.fromkeys(_SPACES, " ") | dict.fromkeys(_DASHES, "-") | _DOTS
    return folded


def _character_class(characters: list[int]) -> str:
    """The code points as ranges of a regular expression's class."""
    ranges: list[list[int]] = []
    for code in sorted(characters):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges)


_FOLDED = _folding()
_SPECIAL = re.compile(f"[{_character_class([ord(character) for character in _FOLDED])}]")
# Two classes, as a class of ranges on both sides of U+10000 is searched many times slower.
_LOW = _character_class([ord(one) for one in _FOLDED if one < "\U00010000"])
_SPECIAL_LOW = re.compile(f"[{_LOW}]")
_ANY = re.compile(f"[{_LOW}{MARKS}\u0391-\u03a7\u0405-\u0458]")
_HIGH = re.compile("[\U00010000-\U0010ffff]")
_LONGEST_CLUSTER = 8
_MARK = re.compile(f"[{MARKS}]")
_COMBINED = re.compile(f"[^{MARKS}][{MARKS}]++")
_LOOKALIKE = re.compile("[\u0391-\u03a7\u0405-\u0458]")
_TOKEN = re.compile("[0-9A-Za-z\u0391-\u03a7\u0405-\u0458]{2,64}+")
_DIGIT = re.compile("[0-9]")


class Normalised(msgspec.Struct, frozen=True):
    """A text for detectors, and the way back to code points of the text as given.

    `starts[n]` is the first position of `text` that lies `shifts[n]` to the left of its origin; both are
    empty where nothing was removed.
    """

    text: str
    starts: list[int] = []
    shifts: list[int] = []

    def origin(self, position: int) -> int:
        """Where the character at `position` of the normalised text stands in the original."""
        if not self.starts:
            return position
        before = bisect_right(self.starts, position)
        return position + self.shifts[before - 1] if before else position

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span of what is at [start, end) here, with whatever was removed inside of it."""
        if not self.starts or end <= start:
            return self.origin(start), self.origin(end)
        return self.origin(start), self.origin(end - 1) + 1


def normalise(text: str) -> Normalised:
    """The text folded as this module says. Linear in its length."""
    if text.isascii():
        return Normalised(text)
    special = _SPECIAL if _HIGH.search(text) else _SPECIAL_LOW
    if special is _SPECIAL_LOW and not _ANY.search(text):
        return Normalised(text)
    starts: list[int] = []
    shifts: list[int] = []
    if special.search(text):
        text = _fold(special, text, starts, shifts)
    if _MARK.search(text):
        text, starts, shifts = _compose(text, starts, shifts)
    if _LOOKALIKE.search(text):
        text = _latinise(text)
    return Normalised(text, starts, shifts)


def _fold(special: re.Pattern[str], text: str, starts: list[int], shifts: list[int]) -> str:
    """Replace and remove single code points; tell `starts` and `shifts` of removals."""
    pieces: list[str] = []
    done = removed = 0
    for match in special.finditer(text):
        at = match.start()
        pieces.append(text[done:at])
        done = at + 1
        plain = _FOLDED[match.group()]
        if plain:
            pieces.append(plain)
            continue
        removed += 1
        _shift(starts, shifts, at + 1 - removed, removed)
    pieces.append(text[done:])
    return "".join(pieces)


def _shift(starts: list[int], shifts: list[int], position: int, removed: int) -> None:
    """From `position` on, `removed` characters are missing."""
    if starts and starts[-1] == position:
        shifts[-1] = removed
    else:
        starts.append(position)
        shifts.append(removed)


def _compose(text: str, starts: list[int], shifts: list[int]) -> tuple[str, list[int], list[int]]:
    """Letters with their marks as one code point; marks over digits and plain letters removed."""
    pieces: list[str] = []
    cuts: list[tuple[int, int]] = []  # (position in the result, position in `text`) after each removal
    composed: dict[str, str] = {}
    done = removed = 0
    for match in _COMBINED.finditer(text):
        cluster = match.group()
        letter = composed.get(cluster)
        if letter is None:
            letter = composed[cluster] = _composed(cluster)
        if not letter:
            continue
        start, end = match.span()
        pieces += (text[done:start], letter)
        done = end
        removed += end - start - 1
        cuts.append((end - removed, end))
    if not cuts:
        return text, starts, shifts
    pieces.append(text[done:])
    joined = "".join(pieces)
    if not starts:
        return joined, [at for at, _ in cuts], [position - at for at, position in cuts]
    before = Normalised(text, starts, shifts)
    earlier = [(position - _removed_before(cuts, position), position) for position in starts]
    found = sorted({*cuts, *earlier})
    return joined, [at for at, _ in found], [before.origin(position) - at for at, position in found]


def _composed(cluster: str) -> str:
    """The one letter that a letter with its marks becomes; "" where it stays as it is."""
    letter = unicodedata.normalize("NFC", cluster) if len(cluster) < _LONGEST_CLUSTER else ""
    if len(letter) == 1:
        return letter
    return cluster[0] if cluster[0].isascii() else ""


def _removed_before(cuts: list[tuple[int, int]], position: int) -> int:
    """How many characters cuts took out before `position` of the text they were made in."""
    index = bisect_right(cuts, position, key=lambda cut: cut[1])
    return cuts[index - 1][1] - cuts[index - 1][0] if index else 0


def _latinise(text: str) -> str:
    """Look-alike letters to Latin ones, in tokens that also hold ASCII digits."""
    return _TOKEN.sub(lambda match: _latinised(match.group()), text)


def _latinised(token: str) -> str:
    """A token with digits in Latin letters; another one as it is."""
    return token.translate(_LATIN) if _DIGIT.search(token) else token
