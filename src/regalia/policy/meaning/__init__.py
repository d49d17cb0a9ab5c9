"""How alike texts are in meaning, over languages: what `topics` and `grounding` stand on."""

from regalia.policy.meaning.space import Embed, Meaning, Space, Vector, cosine, scaled

__all__ = ["Embed", "Meaning", "Space", "Vector", "cosine", "scaled"]
