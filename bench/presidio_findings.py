"""Run by Presidio's own Python: texts as JSON lines on stdin, its findings as JSON lines on stdout.

Every recogniser that Presidio ships is enabled, those of single countries too, apart from those that ask a
remote service or need another model. spaCy runs without a trained pipeline, which would only add names and
places; those are not counted here. The e-mail recogniser's list of domains is the one inside its package, as
there is no network.
"""

# mypy: ignore-errors
import inspect
import json
import sys

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
from presidio_analyzer.nlp_engine import SpacyNlpEngine

LEFT_OUT = (
    "Azure",
    "AHDS",
    "Remote",
    "GLiNER",
    "Gliner",
    "Stanza",
    "Transformers",
    "LangExtract",
    "HuggingFace",
)

REGIONS = ("MY", "SG", "AE", "SA", "KE", "ID", "VN", "DE", "FR", "ES", "PL")


class Blank(SpacyNlpEngine):
    """spaCy with a tokeniser and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.nlp = {"en": spacy.blank("en")}


def analyzer() -> AnalyzerEngine:
    """Presidio with all it has."""
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    registry = RecognizerRegistry(supported_languages=["en"])
    for name, one in inspect.getmembers(predefined_recognizers, inspect.isclass):
        if any(part in name for part in LEFT_OUT) or "LM" in name:
            continue
        try:
            more = {"supported_regions": REGIONS} if name == "PhoneRecognizer" else {}
            registry.add_recognizer(one(supported_language="en", **more))
        except Exception as error:
            print(f"left out {name}: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{len(registry.recognizers)} recognisers", file=sys.stderr)
    return AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])


def main() -> None:
    """Answer line by line."""
    engine = analyzer()
    for line in sys.stdin:
        found = engine.analyze(json.loads(line), language="en")
        told = [[one.entity_type, one.start, one.end, one.score] for one in found]
        print(json.dumps(told), flush=False)


main()
