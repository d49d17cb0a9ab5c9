"""The semantic head: a logistic regression for each kind, over the embedding of a text and its words.

For requests for harm the nearest training texts count beside it (`neighbours`). English has weights of its
own, and further ones, which also read the states in the middle of a small chat model (`Reading`), where the
instance has that model.

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

import msgspec

from regalia.policy.semantic.kind import DIMENSIONS, Kind, Vector
from regalia.policy.semantic.neighbours import Card, Neighbours
from regalia.policy.semantic.neighbours import load as load_neighbours
from regalia.policy.semantic.reading import EnglishKind, Reading, readable
from regalia.policy.semantic.terms import terms


class Center(msgspec.Struct, frozen=True):
    """Where the texts of a language lie, and what the language is told by."""

    language: str
    bias: float
    weights: Vector
    center: Vector


class Head(msgspec.Struct, frozen=True, dict=True):
    """All kinds, as English is told and as other languages are.

    `terms` are the words that `Kind.terms` has weights for, in the same order.
    """

    schema: int
    model: str
    centers: list[Center]
    terms: list[str]
    kinds: list[Kind]
    elsewhere: list[Kind]
    neighbours: Card | None = None
    reading: Reading | None = None
    card: dict[str, object] = {}

    @cached_property
    def _near(self) -> Neighbours | None:
        return load_neighbours(self.neighbours) if self.neighbours else None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @cached_property
    def _reading_kinds(self) -> list[Kind]:
        """Those of `reading` in the place of their namesakes."""
        known: dict[str, Kind] = {kind.kind: kind for kind in self.reading.kinds} if self.reading else {}
        return [known.get(kind.kind, kind) for kind in self.kinds]

    def reads(self, text: str, vector: list[float]) -> bool:
        """Whether a text, by its embedding, is English, or like it, and `reading` is for it."""
        return self._spoken(vector).language == "en" and readable(text)

    def scores(self, text: str, vector: list[float], states: list[float] | None = None) -> dict[str, float]:
        """The score of every kind, from 0 to 1; with `states` by the weights of `reading`.

        Raises ValueError for vectors of another size.
        """
        spoken = self._spoken(vector)
        moved = _unit([one - other for one, other in zip(vector, spoken.center, strict=True)])
        near = self._near.score(moved) if self._near else 0.0
        found = terms(text)
        places = [self._places[term] for term in found if term in self._places]
        share = 1 / math.sqrt(max(1, len(found)))
        read = self._read(states) if states is not None else []
        of_english = self._reading_kinds if read else self.kinds
        kinds = of_english if spoken.language == "en" else self.elsewhere
        return {
            kind.kind: sigmoid(
                kind.bias
                + (near if self._near and kind.kind == self._near.card.kind else 0.0)
                + _dot(kind.weights, moved)
                + share * sum([kind.terms[place] for place in places])
                + (_dot(kind.states, read) if isinstance(kind, EnglishKind) else 0.0)
            )
            for kind in kinds
        }

    def _spoken(self, vector: list[float]) -> Center:
        """The language of an embedding. Raises ValueError for one of another size."""
        if len(vector) != DIMENSIONS:
            raise ValueError(
                f"the semantic detector needs {self.model}: {DIMENSIONS} numbers a text, not {len(vector)}"
            )
        return max(self.centers, key=lambda one: one.bias + _dot(one.weights, vector))

    def _read(self, states: list[float]) -> list[float]:
        """States as the weights take them. Raises ValueError for those of another size."""
        reading = self.reading
        if reading is None or len(states) != len(reading.center):
            raise ValueError(
                f"{len(states)} numbers a text are not the states that the weights were made for"
            )
        rows = zip(states, reading.center, reading.scale, strict=True)
        moved = [(one - center) * scale for one, center, scale in rows]
        part = reading.part or len(moved)
        return [one for start in range(0, len(moved), part) for one in _unit(moved[start : start + part])]


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(_dot(vector, vector)) or 1.0
    return [one / length for one in vector]


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
