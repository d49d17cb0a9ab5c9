"""What one kind of finding is told by: weights for the embedding and the words of a text."""

from typing import Annotated

import msgspec

DIMENSIONS = 384
Vector = Annotated[list[float], msgspec.Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]


class Kind(msgspec.Struct, frozen=True):
    """What one kind is told by. The bias makes 0.5 the score at the threshold chosen in training."""

    kind: str
    bias: float
    weights: Vector
    terms: list[float]
