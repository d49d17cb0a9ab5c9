"""What a detector is. `regalia.policy.detectors.DETECTORS` maps the names that packs use to factories.

A detector opens no socket and resolves no name, is pure, and takes time linear in the text. It is given texts
of at most MAX_TEXT code points; longer ones come in overlapping pieces. The scanner has folded look-alike
digits and removed invisible characters before (`regalia.policy.normalise`), and maps findings back to the
text as it came; a detector whose `raw` is True gets the text as it came instead.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from regalia.policy.finding import Finding

MAX_TEXT = 32_768
"""The longest text, in code points, that a detector is given at once."""

OVERLAP = 512
"""How much two pieces of a longer text share: nothing that is to be found in one piece may be longer."""

Embed = Callable[[list[str]], Awaitable[list[list[float]]]]
"""Embeds texts (the embedding engine's own prefix conventions are the caller's business)."""

Ask = Callable[[str, list[dict[str, str]]], Awaitable[str]]
"""Asks one of the instance's engines: the model's name and chat messages; gives the answer's text."""


@runtime_checkable
class Detector(Protocol):
    """Finds something in a text, quickly: it runs before the engine is asked. `raw` may be left out."""

    name: str

    def find(self, text: str) -> list[Finding]:
        """What is in `text`, in no particular order; spans may overlap."""
        ...


@runtime_checkable
class SlowDetector(Protocol):
    """Finds something at a cost: it runs while the engine already reads the prompt."""

    name: str
    slow: bool  # True

    async def find(self, text: str) -> list[Finding]:
        """What is in `text`."""
        ...


class Resources(msgspec.Struct, frozen=True):
    """What factories may use of the instance; None where it has none."""

    embed: Embed | None = None
    ask: Ask | None = None


Factory = Callable[[Mapping[str, Any], Resources], Detector | SlowDetector]
"""Makes a detector from a rail's `options`. Raises ValueError in a sentence that names a wrong option.

A detector that finds several kinds takes `options["kinds"]` (a list of kinds, or of prefixes like "my.*") so
that it need not look for the others; the scanner also drops what a rail's `kinds` do not name.
"""
