"""What the card of the semantic head says: precision, recall and false alarms, with intervals at 95 %."""

import hashlib
from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from semantic_sources import HEADS, Example

LANGUAGES = ("en", "ms", "id", "ar", "sw", "vi", "ta", "zh")
RESAMPLES = 1000
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def wilson(right: int, count: int) -> list[float]:
    """A share and its interval at 95 %."""
    if not count:
        return [0.0, 0.0, 1.0]
    share, z = right / count, 1.96
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [round(value, 3) for value in (share, (middle - half) / scale, (middle + half) / scale)]


def f1(bad: Mask, caught: Mask) -> float:
    """Twice what was caught rightly, by all that is there and all that was caught."""
    return 2 * float((bad & caught).sum()) / max(1.0, float(bad.sum()) + float(caught.sum()))


def f1_interval(bad: Mask, caught: Mask) -> list[float]:
    """F1 and its interval by drawing the texts anew, with a fixed seed."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(bad), (RESAMPLES, len(bad)))
    values = [f1(bad[these], caught[these]) for these in drawn]
    return [round(float(value), 3) for value in (f1(bad, caught), *np.quantile(values, (0.025, 0.975)))]


def measured(part: Sequence[Example], scores: dict[str, Array]) -> dict[str, object]:
    """Any kind against none, by language; each kind; false alarms; what was caught of each source."""
    caught: Mask = np.max([scores[head] for head in HEADS], axis=0) >= 0
    bad = np.array([bool(example.labels) for example in part])
    hard = np.array([example.hard and not example.labels for example in part])
    card: dict[str, object] = {}
    for language in (*LANGUAGES, "all but en"):
        here = np.array(
            [one.language == language or (language[:3] == "all" and one.language != "en") for one in part]
        )
        right, told = int((here & bad & caught).sum()), int((here & caught).sum())
        card[language] = {
            "positives": int((here & bad).sum()),
            "hard": int((here & hard).sum()),
            "precision": wilson(right, told),
            "recall": wilson(right, int((here & bad).sum())),
            "f1": f1_interval(bad[here], caught[here]),
            "false_alarms": wilson(int((here & ~bad & caught).sum()), int((here & ~bad).sum())),
            "false_alarms_on_hard": wilson(int((here & hard & caught).sum()), int((here & hard).sum())),
        }
    kinds = {}
    for head in HEADS:
        of = np.array([head in example.labels for example in part])
        got = scores[head] >= 0
        kinds[head] = {
            "recall": wilson(int((of & got).sum()), int(of.sum())),
            "caught_as_any": wilson(int((of & caught).sum()), int(of.sum())),
            "false_alarms": wilson(int((~bad & got).sum()), int((~bad).sum())),
            "false_alarms_on_hard": wilson(int((hard & got).sum()), int(hard.sum())),
        }
    sources = {}
    for source in sorted({example.source for example in part}):
        here = np.array([example.source == source for example in part])
        for label, side in (("caught", here & bad), ("false alarms", here & ~bad)):
            if side.any():
                sources[f"{source}: {label}"] = wilson(int((side & caught).sum()), int(side.sum()))
    return {"languages": card, "kinds": kinds, "sources": sources}


def digest(chosen: Sequence[Example]) -> str:
    """SHA-256 of the texts with their labels, sorted: which data it was, without the data."""
    lines = sorted(f"{one.source}\t{','.join(sorted(one.labels))}\t{one.text}" for one in chosen)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
