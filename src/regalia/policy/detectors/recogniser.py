"""What a recogniser of an identifier says of itself, and how the confidence of a finding comes about.

Every recogniser has a base confidence: what a number that passes its check is worth without any word around
it. A canonical grouping adds to it, an odd one takes away, the nearest word adds or takes away. What reaches
THRESHOLD is a finding. So a recogniser whose base is below the threshold needs a word or the grouping.
"""

import re
from collections.abc import Callable

import msgspec

from regalia.policy.finding import Strength

THRESHOLD = 0.5
GROUPED, ODDLY_GROUPED = 0.1, -0.35
CUT_OUT, OUT_OF_TOKEN = -0.35, -0.45
WORD_FOR, WORD_AGAINST = 0.3, -0.45
CERTAIN = 0.99

NEEDS_WORD = 0.3
"""The base of a recogniser that finds nothing without a word for it."""
NEEDS_WORD_OR_GROUPING = 0.45


class Recogniser(msgspec.Struct, frozen=True):
    """One kind of identifier.

    `lengths` are those of its compact form: digits only, or capital letters and digits. `accepts` is given
    that form. `groupings` are the lengths of its groups as it is usually written; a number written in one
    piece is neither canonical nor odd, and none is where `groupings` is None.
    `country` is a code, "" where the identifier belongs to none.
    """

    kind: str
    country: str
    strength: Strength
    base: float
    lengths: tuple[int, ...]
    accepts: Callable[[str], bool]
    words: re.Pattern[str]
    groupings: frozenset[tuple[int, ...]] | None = frozenset()
    letters: bool = False
    """Whether the compact form holds a letter."""


def confidence(base: float, grouping: int, word: int, cut: float = 0.0) -> float:
    """The score: `grouping` is 1 canonical, -1 odd, 0 none; `word` likewise for and against.

    `cut` is what it loses because the number may be a part of a longer one.
    """
    score = base + cut + (GROUPED if grouping > 0 else ODDLY_GROUPED if grouping < 0 else 0.0)
    score += WORD_FOR if word > 0 else WORD_AGAINST if word < 0 else 0.0
    return round(min(score, CERTAIN), 2)
