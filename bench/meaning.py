"""How well topics and grounding are told, on texts of our own (bench/meaning.yaml).

    python -m bench.meaning [--tune] [--misses] [--write]

Nothing here is a bound: the texts are few and by the people who wrote the detectors. Intervals are Wilson's.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from bench.rails import wilson
from bench.report import machine, table, write_between_marks

from regalia.instance.trying import embedding_engine
from regalia.policy.detector import GroundedDetector, Resources, SlowDetector
from regalia.policy.detectors import DETECTORS
from regalia.policy.grounding import Sources
from regalia.policy.normalise import normalise

TEXTS = Path(__file__).with_suffix(".yaml")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "rails.md"
COUNTED = 0.5


async def topics(resources: Resources, part: Mapping[str, Any], misses: bool) -> str:
    """Each prompt against every topic, and against the list of them all as what is allowed."""
    names = list(part["topics"])
    deny = DETECTORS["topics"]({"topics": part["topics"]}, resources)
    allow = DETECTORS["topics"]({"allow": part["topics"]}, resources)
    assert isinstance(deny, SlowDetector)
    assert isinstance(allow, SlowDetector)
    told: dict[str, list[tuple[bool, bool]]] = {}
    for wanted, language, text in part["prompts"]:
        found = {one.kind: one.score for one in await deny.find(text)}
        for name in names:
            acts = found.get(f"topic.{name}", 0.0) >= COUNTED
            told.setdefault("`topic.NAME`", []).append((name == wanted, acts))
            told.setdefault("in English" if language == "en" else "in other languages", []).append(
                (name == wanted, acts)
            )
            if misses and acts != (name == wanted):
                print(f"topics: {name} {'found' if acts else 'missed'} in {text!r}: {found}", file=sys.stderr)
        off = any(one.score >= COUNTED for one in await allow.find(text))
        told.setdefault("`topic.none`", []).append((not wanted, off))
    return _table("topics", told)


async def grounding(resources: Resources, part: Sequence[Mapping[str, Any]], misses: bool) -> str:
    """Each sentence against its source: every kind by itself."""
    detector = DETECTORS["grounding"]({}, resources)
    assert isinstance(detector, GroundedDetector)
    await detector.prepare()  # type: ignore[attr-defined]
    told: dict[str, list[tuple[bool, bool]]] = {}
    for given in part:
        sources = Sources([given["source"]])
        for wanted, _, text in given["sentences"]:
            found = await detector.find_grounded(normalise(text).text, sources, ended=True)
            kinds = {one.kind.removeprefix("grounding.") for one in found if one.score >= COUNTED}
            for kind in ("number", "date", "name", "unsupported"):
                if wanted in ("", kind) or (kind != "unsupported" and wanted == "unsupported"):
                    told.setdefault(f"`grounding.{kind}`", []).append((wanted == kind, kind in kinds))
            if wanted == "unstated":
                told.setdefault("on the subject, but not said there", []).append((True, bool(kinds)))
            else:
                told.setdefault("any", []).append((bool(wanted), bool(kinds)))
            if misses and (wanted or "") not in (kinds or {""}):
                print(
                    f"grounding: {wanted or 'right'!r} came out as {sorted(kinds)}: {text!r}", file=sys.stderr
                )
    return _table("grounding", told)


def _table(what: str, told: Mapping[str, Sequence[tuple[bool, bool]]]) -> str:
    rows = []
    for name, pairs in told.items():
        positives = sum(wanted for wanted, _ in pairs)
        acts = sum(found for _, found in pairs)
        right = sum(wanted and found for wanted, found in pairs)
        precision = _share(right, acts) if positives < len(pairs) else "–"
        rows.append([name, str(positives), str(len(pairs) - positives), _share(right, positives), precision])
    return table([what, "positives", "negatives", "recall", "precision"], rows)


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{part / whole:.2f} ({low:.2f} to {high:.2f})"


async def run(tune: bool, misses: bool) -> str:
    """Both tables."""
    texts = yaml.safe_load(TEXTS.read_text())
    part = "tune" if tune else "measure"
    async with embedding_engine() as resources:
        first = await topics(resources, texts["topics"][part], misses)
        second = await grounding(resources, texts["grounding"][part], misses)
    return f"{machine()}\n\n{first}\n\n{second}"


def main() -> None:
    """Print the tables, or put them into docs/rails.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.meaning")
    parser.add_argument("--tune", action="store_true", help="on the texts that the constants were chosen on")
    parser.add_argument("--misses", action="store_true", help="tell what came out wrong")
    parser.add_argument("--write", action="store_true", help=f"put the figures into docs/{PAGE.name}")
    chosen = parser.parse_args()
    said = asyncio.run(run(chosen.tune, chosen.misses))
    print(said)
    if chosen.write and not chosen.tune:
        write_between_marks(PAGE, said, "figures of meaning")


if __name__ == "__main__":
    main()
