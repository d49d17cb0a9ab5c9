"""Rails by meaning: a small head on multilingual embeddings, for prompt injection, jailbreaks and harm."""

from regalia.policy.semantic.detector import NAME, Semantic, make
from regalia.policy.semantic.head import Head, load

__all__ = ["NAME", "Head", "Semantic", "load", "make"]
