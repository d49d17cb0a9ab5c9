"""The semantic head: a logistic regression for each kind, over the embedding of a text and its words.

For requests for harm the nearest training texts count beside it (`neighbours`).

The weights are plain numbers in `head.json`, with their card: what they were trained on, and how well they
do. They hold for one embedding model, multilingual-e5-small with the prefix for queries; vectors of another
size are refused, but another model of the same size can't be told apart here.

Most of what two embeddings share is their language, so the centre of the language is taken from each first,
and what is left is brought to length one: what was learned in English then holds elsewhere. The language is
told by the embedding itself; a language without a centre counts as English.
"""

import math
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Annotated

import msgspec

from regalia.policy.semantic.neighbours import Card, Neighbours
from regalia.policy.semantic.neighbours import load as load_neighbours
from regalia.policy.semantic.terms import terms

DIMENSIONS = 384
Vector = Annotated[list[float], msgspec.Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]


class Center(msgspec.Struct, frozen=True):
    """Where the texts of a language lie, and what the language is told by."""

    language: str
    bias: float
    weights: Vector
    center: Vector


class Kind(msgspec.Struct, frozen=True):
    """What one kind is told by. The bias makes 0.5 the score at the threshold chosen in training.

    `elsewhere` is added to it where the language is told to be another than English.
    """

    kind: str
    bias: float
    weights: Vector
    terms: list[float]
    elsewhere: float = 0.0


class Head(msgspec.Struct, frozen=True, dict=True):
    """All kinds. `terms` are the words that `Kind.terms` has weights for, in the same order."""

    schema: int
    model: str
    centers: list[Center]
    terms: list[str]
    kinds: list[Kind]
    neighbours: Card | None = None
    card: dict[str, object] = {}

    @cached_property
    def _near(self) -> Neighbours | None:
        return load_neighbours(self.neighbours) if self.neighbours else None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    def scores(self, text: str, vector: list[float]) -> dict[str, float]:
        """The score of every kind, from 0 to 1. Raises ValueError for a vector of another size."""
        if len(vector) != DIMENSIONS:
            raise ValueError(
                f"the semantic detector needs {self.model}: {DIMENSIONS} numbers a text, not {len(vector)}"
            )
        spoken = max(self.centers, key=lambda one: one.bias + _dot(one.weights, vector))
        moved = [one - other for one, other in zip(vector, spoken.center, strict=True)]
        length = math.sqrt(_dot(moved, moved)) or 1.0
        near = self._near.score([one / length for one in moved]) if self._near else 0.0
        found = terms(text)
        places = [self._places[term] for term in found if term in self._places]
        share = 1 / math.sqrt(max(1, len(found)))
        return {
            kind.kind: sigmoid(
                kind.bias
                + (0.0 if spoken.language == "en" else kind.elsewhere)
                + (near if self._near and kind.kind == self._near.card.kind else 0.0)
                + _dot(kind.weights, moved) / length
                + share * sum([kind.terms[place] for place in places])
            )
            for kind in self.kinds
        }


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
    head = msgspec.json.decode(document, type=Head)
    _ = head._near  # with the pack, not with the first call
    return head
