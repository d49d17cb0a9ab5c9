"""Characters that can't be seen: they carry instructions past a reader's eyes, or break a word for detectors.

It reads the text as it came. Kinds: `unicode.tag` (the invisible copy of ASCII in plane 14),
`unicode.bidi` (controls that show text in another order than it is read), `unicode.invisible` (zero-width
characters and fillers between ASCII letters or digits, where no script asks for them), `unicode.variation`
(runs of variation selectors, which can carry bytes).
"""

import re
from collections.abc import Mapping
from typing import Any

from regalia.policy.detector import Resources
from regalia.policy.finding import Finding

NAME = "unicode"
_HIDDEN = re.compile(
    "(?P<tag>[\U000e0000-\U000e007f]++)"
    "|(?P<bidi>[\u202a-\u202e\u2066-\u2069]++)"
    "|(?P<variation>[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}+)"
    "|(?<=[\\dA-Za-z])(?P<invisible>[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065"
    "\u206a-\u206f\u3164\ufeff\uffa0]++)(?=[\\dA-Za-z])"
)
_ANY = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e01ef]"
)
_FLAG = "\U0001f3f4"
_FLAG_TAGS = re.compile("\U000e0067\U000e0062[\U000e0061-\U000e007a]{0,3}\U000e007f")
_SCORES = {"tag": 0.95, "bidi": 0.6, "variation": 0.8, "invisible": 0.6}


class Hidden:
    """Finds characters that can't be seen."""

    name = NAME
    raw = True

    def find(self, text: str) -> list[Finding]:
        """One finding for each run of such characters."""
        if text.isascii() or not _ANY.search(text):
            return []
        found = []
        for match in _HIDDEN.finditer(text):
            kind = match.lastgroup or ""
            if kind == "tag" and _is_flag(text, match):
                continue  # flags of England, Scotland and Wales are spelt in tags
            if kind == "bidi" and _is_isolated_pair(match.group()):
                continue
            found.append(
                Finding(f"unicode.{kind}", match.start(), match.end(), _SCORES[kind], "format", NAME)
            )
        return found


def _is_flag(text: str, match: re.Match[str]) -> bool:
    """Whether tags spell a flag of a part of the United Kingdom, and nothing else."""
    return (
        text[match.start() - 1 : match.start()] == _FLAG and _FLAG_TAGS.fullmatch(match.group()) is not None
    )


def _is_isolated_pair(controls: str) -> bool:
    """Whether they are nothing but isolates, which editors put around names in right-to-left text."""
    return all("\u2066" <= control <= "\u2069" for control in controls) and len(controls) <= 2


def make(options: Mapping[str, Any], resources: Resources) -> Hidden:
    """The factory that packs use."""
    del resources
    if unknown := set(options) - {"kinds"}:
        raise ValueError(f"the detector {NAME} has no option {', '.join(sorted(unknown))}")
    return Hidden()
