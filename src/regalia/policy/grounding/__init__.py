"""Whether an answer keeps to the sources of its request: its sentences by meaning, its facts word by word."""

from regalia.policy.grounding.sources import NO_SOURCES, Sources

__all__ = ["NO_SOURCES", "Sources"]
