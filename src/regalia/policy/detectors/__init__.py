"""The detectors that packs name, each by the factory that makes it from a rail's options."""

from collections.abc import Mapping

from regalia.policy import semantic
from regalia.policy.detector import Factory
from regalia.policy.detectors import grounding, guard, hidden, identifiers, language, secrets, topics

DETECTORS: Mapping[str, Factory] = {
    identifiers.NAME: identifiers.make,
    secrets.NAME: secrets.make,
    language.NAME: language.make,
    hidden.NAME: hidden.make,
    semantic.NAME: semantic.make,
    topics.NAME: topics.make,
    grounding.NAME: grounding.make,
    guard.NAME: guard.make,
}

__all__ = ["DETECTORS"]
