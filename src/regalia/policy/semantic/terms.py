"""The words of a stretch: what the semantic head reads beside the embedding.

An embedding says what a text is about; whether it asks how to do a thing or how to prevent it often hangs
on a word or two. Terms are words and pairs of neighbouring words in lower case; Han characters count as
words, since nothing stands between words there.
"""

import re
from itertools import pairwise

_MARKS = "\u0300-\u036f\u064b-\u0652\u0b82-\u0bcd'\u2019"  # vowel signs are no letters to `\w`
_TOKEN = re.compile(rf"[\u3400-\u9fff]|(?:[^\W\d_\u3400-\u9fff]|[{_MARKS}])+")


def terms(text: str) -> set[str]:
    """The words and pairs of words in a text. Takes time linear in its length."""
    words: list[str] = _TOKEN.findall(text.lower())
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}
