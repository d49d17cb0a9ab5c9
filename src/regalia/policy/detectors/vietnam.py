"""Vietnam: the citizen's number (CCCD), the older CMND, and the tax code MST, alone with a check digit."""

from stdnum.vn import mst

from regalia.policy.detectors.checks import weighted
from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import NEEDS_WORD, NEEDS_WORD_OR_GROUPING, Recogniser

# Provinces and cities as numbered by Circular 07/2016/TT-BCA.
_PROVINCES = frozenset(
    f"{code:03}" for code in (
        1, 2, 4, 6, 8, 10, 11, 12, 14, 15, 17, 19, 20, 22, 24, 25, 26, 27, 30, 31, 33, 34, 35, 36, 37,
        38, 40, 42, 44, 45, 46, 48, 49, 51, 52, 54, 56, 58, 60, 62, 64, 66, 67, 68, 70, 72, 74, 75, 77,
        79, 80, 82, 83, 84, 86, 87, 89, 91, 92, 93, 94, 95, 96,
    )
)  # fmt: skip
_MST_WEIGHTS = (31, 29, 23, 19, 17, 13, 7, 5, 3)
_YOUNGEST = 40  # a number with century digit 2 or 3 was given to somebody born from 2000 on


def _cccd(digits: str) -> bool:
    born_from_2000 = digits[3] in "23"
    return (
        digits[:3] in _PROVINCES
        and digits[3] in "0123"
        and not (born_from_2000 and int(digits[4:6]) > _YOUNGEST)
        and digits[6:] != "000000"
    )


def _mst(digits: str) -> bool:
    # the check digit first: it is a guard for speed, and turns nine numbers in ten away
    return 10 - weighted(digits, _MST_WEIGHTS) % 11 == int(digits[9]) and mst.is_valid(digits)


_ID_WORDS = terms(
    "cccd", "căn cước", "căn cước công dân", "thẻ căn cước", "cmnd", "cmt", "chứng minh",
    "chứng minh nhân dân", "chứng minh thư", "giấy chứng minh", "số định danh", "định danh cá nhân",
    "mã định danh", "can cuoc", "identity", "identification", "id number", "id no", "id card", "citizen id",
    "national id", "citizen identity",
)  # fmt: skip
_TAX_WORDS = terms("mã số thuế", "mst", "thuế", "ma so thue", "tax code", "tax id", "taxpayer", "tin")

RECOGNISERS = (
    Recogniser("vn.cccd", "vn", "format", 0.7, (12,), _cccd, _ID_WORDS,
               frozenset({(3, 3, 3, 3), (4, 4, 4), (3, 1, 2, 6)})),
    Recogniser("vn.cmnd", "vn", "context", NEEDS_WORD, (9,), str.isdigit, _ID_WORDS,
               frozenset({(3, 3, 3)})),
    Recogniser("vn.mst", "vn", "checksum", NEEDS_WORD_OR_GROUPING, (10, 13), _mst, _TAX_WORDS,
               frozenset({(10, 3)})),
)  # fmt: skip
