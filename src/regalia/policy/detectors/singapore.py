"""Singapore: NRIC (S, T) and FIN (F, G, M): seven digits and a check letter."""

from regalia.policy.detectors.checks import weighted
from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import Recogniser

_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)
_LETTERS = {
    "S": (0, "JZIHGFEDCBA"),
    "T": (4, "JZIHGFEDCBA"),
    "F": (0, "XWUTRQPNMLK"),
    "G": (4, "XWUTRQPNMLK"),
    # the series issued from 2022 counts its table from the other end
    "M": (3, "XWUTRQPNJLK"),
}


def _nric(token: str) -> bool:
    series = _LETTERS.get(token[0])
    if series is None or not token[1:8].isdigit():
        return False
    offset, letters = series
    return letters[(weighted(token[1:8], _WEIGHTS) + offset) % 11] == token[8]


_WORDS = terms(
    "nric", "fin", "ic", "i/c", "singpass", "identity card", "identity", "identification", "id number",
    "id no", "id no.", "my id", "work pass", "kad pengenalan", "身份证", "身份證", "அடையாள அட்டை",
)  # fmt: skip

RECOGNISERS = (
    Recogniser(
        "sg.nric", "sg", "checksum", 0.85, (9,), lambda t: t[0] in "ST" and _nric(t), _WORDS, letters=True
    ),
    Recogniser(
        "sg.fin", "sg", "checksum", 0.85, (9,), lambda t: t[0] in "FGM" and _nric(t), _WORDS, letters=True
    ),
)
