"""The detectors that packs name, each by the factory that makes it from a rail's options."""

from collections.abc import Mapping

from regalia.policy import semantic
from regalia.policy.detector import Factory
from regalia.policy.detectors import guard, hidden, identifiers, language, secrets

DETECTORS: Mapping[str, Factory] = {
    identifiers.NAME: identifiers.make,
    secrets.NAME: secrets.make,
    language.NAME: language.make,
    hidden.NAME: hidden.make,
    semantic.NAME: semantic.make,
    guard.NAME: guard.make,
}

__all__ = ["DETECTORS"]
