"""The nearest neighbours of the semantic head: how the training side tries them and what is shipped.

See src/regalia/policy/semantic/neighbours.py, which computes the same from the file.
"""

from hashlib import sha256
from typing import Any

import numpy as np
from semantic_figures import Array, Mask

from regalia.policy.semantic.neighbours import NEAREST, UNIT, Card

KIND = "harm"
WEIGHT = 16.0


def nearness(rows: Array, among: Array) -> Array:
    """The mean of the NEAREST highest cosines of each row."""
    return np.asarray(np.sort(rows @ among.T, axis=1)[:, -NEAREST:].mean(axis=1))


def margin(rows: Array, harmful: Array, harmless: Array) -> Array:
    """What is added to the scores of KIND."""
    return WEIGHT * (nearness(rows, harmful) - nearness(rows, harmless))


def left_out_margin(rows: Array, harmful: Mask, harmless: Mask, fold: Any) -> Array:
    """The margin of each stretch by neighbours of other folds."""
    found = np.zeros(len(rows))
    for number in np.unique(fold):
        here = fold == number
        found[here] = margin(rows[here], rows[~here & harmful], rows[~here & harmless])
    return found


def shipped(rows: Array, harmful: Mask, harmless: Mask) -> tuple[Card, bytes, Array, Array]:
    """The card and the bytes of the file, and both sides as they are read from it."""
    whole = np.clip(np.rint(rows[harmful | harmless] * UNIT), -127, 127).astype(np.int8)
    first = harmful[harmful | harmless]
    sides = whole[first], whole[~first]
    data = sides[0].tobytes() + sides[1].tobytes()
    card = Card(f"semantic.{KIND}", WEIGHT, len(sides[0]), len(sides[1]), sha256(data).hexdigest())
    return card, data, sides[0] / UNIT, sides[1] / UNIT
