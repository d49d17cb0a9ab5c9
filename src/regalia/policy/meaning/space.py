"""Embeddings made comparable: raw cosines of multilingual-e5 lie between 0.7 and 0.9, whatever is compared.

Every vector has the mean of ordinary texts (`background`) taken from it and is brought back to length 1.
What is unrelated then lies around 0.1, what is alike from 0.3 on, in one language or across two. No weights
are shipped: the background is embedded by the same engine as all else, once a process.
"""

import asyncio
import math
from array import array
from collections.abc import Awaitable, Callable, Sequence
from operator import mul

import msgspec

from regalia.policy.meaning.background import BACKGROUND

Embed = Callable[[list[str]], Awaitable[list[list[float]]]]
"""Embeds texts (the embedding engine's own prefix conventions are the caller's business)."""

Vector = Sequence[float]
NEAREST = 5
"""How many of the nearest background texts make up the noise of a text."""

BATCH = 64
"""Texts that the engine is asked for at once."""


class Space(msgspec.Struct, frozen=True, eq=False):
    """The mean of the background, and the background's own vectors in the space."""

    mean: Vector
    background: tuple[Vector, ...]

    def placed(self, raw: Vector) -> Vector:
        """A vector from the engine in this space. Raises ValueError for one of another size."""
        return _centred(raw, self.mean)

    def noise(self, vector: Vector) -> float:
        """How alike a text is to what is about nothing: the mean of its NEAREST cosines."""
        nearest = sorted((cosine(vector, other) for other in self.background), reverse=True)[:NEAREST]
        return sum(nearest) / len(nearest)


class Meaning:
    """Places texts in the space of one embedding engine. Made once a process; safe to share between calls."""

    def __init__(self, embed: Embed, background: Sequence[str] = BACKGROUND) -> None:
        self._embed = embed
        self._background = list(background)
        self._space: Space | None = None
        self._making: asyncio.Future[Space] | None = None

    async def space(self) -> Space:
        """The space; the first who asks has it made, and it is made to the end if they can't wait so long.

        Raises what the engine raises; the next one who asks tries again.
        """
        if self._space is not None:
            return self._space
        making = self._making
        if making is None or making.done():
            making = self._making = asyncio.ensure_future(self._made())
            making.add_done_callback(_heard)
        return await asyncio.shield(making)

    async def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """The texts' vectors in the space, in their order. Raises ValueError, and what the engine raises."""
        space = await self.space()
        return [space.placed(raw) for raw in await self._raw(list(texts))]

    async def _made(self) -> Space:
        raw = await self._raw(self._background)
        mean = [sum(column) / len(raw) for column in zip(*raw, strict=True)]
        self._space = space = Space(mean, tuple(_centred(one, mean) for one in raw))
        return space

    async def _raw(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            part = [text.replace("\0", " ") for text in texts[start : start + BATCH]]
            vectors = await self._embed(part)
            if len(vectors) != len(part):
                raise ValueError(f"the embedding engine gave {len(vectors)} vectors for {len(part)} texts")
            found += vectors
        return found


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of length 1."""
    product: float = sum(map(mul, one, other))
    return product


def scaled(likeness: float, threshold: float, slope: float) -> float:
    """A likeness as a score from 0 to 1 that is 0.5 at the threshold."""
    return round(1 / (1 + math.exp((threshold - likeness) / slope)), 3)


def _centred(raw: Vector, mean: Vector) -> Vector:
    if len(raw) != len(mean):
        raise ValueError(f"the embedding engine gives {len(raw)} numbers a text now, and {len(mean)} before")
    return unit([one - other for one, other in zip(raw, mean, strict=True)])


def unit(vector: Vector) -> Vector:
    """The vector brought to length 1; one without a direction stays as it is."""
    length = math.sqrt(sum(map(mul, vector, vector))) or 1.0
    return array("d", [one / length for one in vector])  # a quarter of a list's memory


def _heard(making: "asyncio.Future[Space]") -> None:
    """Take note of a failure that nobody waits for any more."""
    if not making.cancelled():
        making.exception()
