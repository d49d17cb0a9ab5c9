"""The United Arab Emirates (Emirates ID) and Saudi Arabia (national identity, Iqama): Luhn's digit."""

from regalia.policy.detectors.checks import luhn
from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import Recogniser

_IDENTITY = (
    "id number", "id no", "id no.", "identity", "identification", "national id", "id card", "my id",
    "هوية", "الهوية", "هويه", "هويتي", "بطاقة", "رقم قومي",
)  # fmt: skip


def _emirates(digits: str) -> bool:
    return digits.startswith("784") and "1900" <= digits[3:7] <= "2099" and luhn(digits)


RECOGNISERS = (
    Recogniser(
        kind="ae.emirates_id",
        country="ae",
        strength="checksum",
        base=0.95,
        lengths=(15,),
        accepts=_emirates,
        groupings=frozenset({(3, 4, 7, 1)}),
        words=terms("emirates id", "eid", "uae id", "icp", "الإماراتية", "اماراتية", *_IDENTITY),
    ),
    Recogniser(
        kind="sa.national_id",
        country="sa",
        strength="checksum",
        base=0.75,
        lengths=(10,),
        accepts=lambda digits: digits[0] == "1" and luhn(digits),
        words=terms("saudi id", "absher", "nafath", "الأحوال", "أبشر", "السجل المدني", "سجل مدني",
                    *_IDENTITY),
    ),
    Recogniser(
        kind="sa.iqama",
        country="sa",
        strength="checksum",
        base=0.75,
        lengths=(10,),
        accepts=lambda digits: digits[0] == "2" and luhn(digits),
        words=terms("iqama", "residence permit", "resident id", "muqeem", "absher", "إقامة", "الإقامة",
                    "اقامة", "الاقامة", "إقامتي", "مقيم", *_IDENTITY),
    ),
)  # fmt: skip
