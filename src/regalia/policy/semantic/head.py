"""The semantic head: a logistic regression for each kind, over the embedding of a text.

The weights are plain numbers in `head.json`, with their card: what they were trained on, and how well they
do. They hold for one embedding model, multilingual-e5-small with the prefix for queries; vectors of another
size are refused, but another model of the same size can't be told apart here.
"""

import math
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

import msgspec

DIMENSIONS = 384
Vector = Annotated[list[float], msgspec.Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]


class Kind(msgspec.Struct, frozen=True):
    """What one kind is told by. The bias makes 0.5 the score at the threshold chosen in training."""

    kind: str
    bias: float
    weights: Vector


class Head(msgspec.Struct, frozen=True):
    """All kinds. `center` is taken from every vector before."""

    schema: int
    model: str
    center: Vector
    kinds: list[Kind]
    card: dict[str, object] = {}

    def scores(self, vector: list[float]) -> dict[str, float]:
        """The score of every kind, from 0 to 1. Raises ValueError for a vector of another size."""
        if len(vector) != DIMENSIONS:
            raise ValueError(
                f"the semantic detector needs {self.model}: {DIMENSIONS} numbers a text, not {len(vector)}"
            )
        moved = [one - other for one, other in zip(vector, self.center, strict=True)]
        return {kind.kind: sigmoid(kind.bias + _dot(kind.weights, moved)) for kind in self.kinds}


def _dot(weights: list[float], vector: list[float]) -> float:
    return sum([weight * one for weight, one in zip(weights, vector, strict=True)])


def sigmoid(value: float) -> float:
    """1 / (1 + e^-value) without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


@lru_cache(maxsize=1)
def load() -> Head:
    """The weights that come with this package."""
    document = files("regalia.policy.semantic").joinpath("head.json").read_bytes()
    return msgspec.json.decode(document, type=Head)
