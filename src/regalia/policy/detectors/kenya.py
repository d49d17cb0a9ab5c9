"""Kenya: national identity (7 or 8 digits; 9 with the Maisha card) and the Revenue Authority's PIN.

Neither has a published check digit, so the identity number needs a word beside it; the PIN's shape does not.
"""

from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import NEEDS_WORD, Recogniser

_ID_WORDS = (
    "national id", "id number", "id no", "id no.", "id nos", "id num", "id card", "identity card",
    "identity", "identity number", "identification", "national identity", "my id", "kitambulisho",
    "kitambulisho changu", "kitambulisho cha taifa", "namba ya kitambulisho", "nambari ya kitambulisho",
    "kitamb", "vitambulisho", "id yangu", "huduma namba", "huduma number", "maisha namba", "maisha card",
    "maisha number", "kipande", "id is", "id:", "id #", "with id", "holder of id", "bearing id", "of id",
    "id ya", "ids", "his id", "her id", "their id", "id namba",
)  # fmt: skip


def _pin(token: str) -> bool:
    return token[0] in "AP" and token[1:10].isdigit() and token[10].isalpha() and token[1:10] != "0" * 9


RECOGNISERS = (
    Recogniser(
        kind="ke.id",
        country="ke",
        strength="context",
        base=NEEDS_WORD,
        lengths=(7, 8, 9),
        accepts=lambda digits: digits[0] != "0",
        groupings=frozenset({(2, 3, 3), (1, 3, 3), (4, 4)}),
        words=terms(*_ID_WORDS, adjacent="id"),
    ),
    Recogniser(
        kind="ke.kra_pin",
        country="ke",
        strength="format",
        base=0.85,
        lengths=(11,),
        accepts=_pin,
        letters=True,
        words=terms(
            "kra", "pin", "kra pin", "itax", "tax pin", "pin ya kra", "namba ya kra", "taxpayer", "pini"
        ),
    ),
)
