"""What a detector has found in a text. Plain data: it says where and what kind, never the text itself."""

from typing import Literal

import msgspec

Strength = Literal["checksum", "format", "context", "model"]
"""What a finding rests on: a checksum that holds, a format, words around it, or a model's judgement."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing found: `kind` such as "my.nric", in code points of the text as it was given, end exclusive.

    `score` is the detector's confidence from 0 to 1. A judgement of a whole text spans the whole text.
    """

    kind: str
    start: int
    end: int
    score: float
    strength: Strength
    detector: str
