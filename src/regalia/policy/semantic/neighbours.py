"""How near a text lies to known requests for harm, and how near to harmless ones.

A regression draws one plane between the two; what lies on either side of it in small groups (a recipe for
curry beside one for a drug) is told better by the nearest examples. Shipped are the embeddings of the
training texts, as whole numbers of 8 bits, in `neighbours.json`: the harmful ones first. No text is shipped.

numpy is what the embedding engine brings with it; it is loaded only where a pack uses this detector. Its
einsum computes in this thread, where a matrix product would start threads beside the engine's.
"""

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "neighbours.json"
NEAREST = 3
"""How many of either side are looked at."""
UNIT = 400.0
"""What 1.0 is in the file: numbers of these embeddings, which have length one, rarely pass 0.3."""


class Card(msgspec.Struct, frozen=True):
    """What the file holds, and how much it counts for which kind."""

    kind: str
    weight: float
    harmful: Annotated[int, msgspec.Meta(ge=NEAREST)]
    harmless: Annotated[int, msgspec.Meta(ge=NEAREST)]
    sha256: str


class Rows(msgspec.Struct, frozen=True):
    """The file: all rows after one another, in base64."""

    rows: bytes


class Neighbours:
    """The embeddings of both sides. Raises ValueError where the file is not the one of the card."""

    def __init__(self, card: Card, rows: bytes) -> None:
        if sha256(rows).hexdigest() != card.sha256:
            raise ValueError(f"{FILE} is not the file that head.json was made with: train both anew")
        import numpy as np  # not for instances without this detector

        self.card = card
        self._numpy = np
        whole = np.frombuffer(rows, dtype=np.int8).reshape(card.harmful + card.harmless, -1)
        self._rows = whole.astype(np.float32) / np.float32(UNIT)

    def score(self, vector: list[float]) -> float:
        """`weight` times how much nearer the harmful ones are, for a vector of length one."""
        np = self._numpy
        near = np.einsum("ij,j->i", self._rows, np.array(vector, dtype=np.float32))
        harmful, harmless = near[: self.card.harmful], near[self.card.harmful :]
        return self.card.weight * (self._nearest(harmful) - self._nearest(harmless))

    def _nearest(self, near: "NDArray[np.float32]") -> float:
        return float(self._numpy.partition(near, -NEAREST)[-NEAREST:].mean())


def load(card: Card) -> Neighbours:
    """The embeddings that come with this package."""
    document = files("regalia.policy.semantic").joinpath(FILE).read_bytes()
    return Neighbours(card, msgspec.json.decode(document, type=Rows).rows)
