"""Indonesia: NIK (place, date of birth, serial; no check digit) and NPWP (Luhn over nine digits)."""

from stdnum import numdb

from regalia.policy.detectors.checks import luhn, month_and_day
from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import NEEDS_WORD, NEEDS_WORD_OR_GROUPING, Recogniser

_LOCATIONS = numdb.get("id/loc")
_TABLED = frozenset(f"{n}" for n in range(11, 100) if _LOCATIONS.info(f"{n}00")[0][1])
_PLACES = frozenset(
    place
    for province in _TABLED
    for place in (f"{province}{n:02}" for n in range(1, 100))
    if _LOCATIONS.info(place)[-1][1] and _LOCATIONS.info(place)[-1][0] == place[2:]
)
_PROVINCES = _TABLED | {"92", "93", "94", "95", "96", "97"}


def _date(digits: str) -> bool:
    day = int(digits[6:8])
    return month_and_day(digits[8:10], f"{day - 40 if day > 40 else day:02}")


def _nik(digits: str) -> bool:
    return digits[:4] in _PLACES and _date(digits) and digits[12:] != "0000"


def _nik_of_newer_place(digits: str) -> bool:
    # provinces and regencies are split more often than tables are renewed
    return digits[:2] in _PROVINCES and digits[:4] not in _PLACES and _date(digits)


def _npwp(digits: str) -> bool:
    number = digits[-15:]
    return (len(digits) == 15 or digits[0] == "0") and luhn(number[:9]) and int(number[:9]) > 0


_NIK_WORDS = terms(
    "nik", "ktp", "e-ktp", "no ktp", "no. ktp", "nomor ktp", "nomor induk kependudukan",
    "induk kependudukan", "kependudukan", "kartu tanda penduduk", "kartu keluarga", "no kk", "identitas",
    "identity", "identification", "id number", "id no", "id card", "national id",
)  # fmt: skip
_NPWP_WORDS = terms(
    "npwp", "wajib pajak", "pokok wajib pajak", "pajak", "tax id", "tax number", "taxpayer", "tin", "tax",
)  # fmt: skip

RECOGNISERS = (
    Recogniser("id.nik", "id", "format", 0.85, (16,), _nik, _NIK_WORDS,
               frozenset({(4, 4, 4, 4), (6, 6, 4), (2, 2, 2, 6, 4)})),
    Recogniser("id.nik", "id", "context", NEEDS_WORD, (16,), _nik_of_newer_place, _NIK_WORDS,
               frozenset({(4, 4, 4, 4), (6, 6, 4)})),
    Recogniser("id.npwp", "id", "checksum", NEEDS_WORD_OR_GROUPING, (15, 16), _npwp, _NPWP_WORDS,
               frozenset({(2, 3, 3, 1, 3, 3)})),
)  # fmt: skip
