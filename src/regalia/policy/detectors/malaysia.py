"""Malaysia: the MyKad number (NRIC): date of birth, place of birth, four digits. It has no check digit."""

from stdnum import numdb

from regalia.policy.detectors.checks import month_and_day
from regalia.policy.detectors.context import terms
from regalia.policy.detectors.recogniser import Recogniser

_PLACES = frozenset(f"{n:02}" for n in range(100) if numdb.get("my/bp").info(f"{n:02}")[0][1])


def _mykad(digits: str) -> bool:
    return digits[6:8] in _PLACES and month_and_day(digits[2:4], digits[4:6]) and digits[8:] != "0000"


RECOGNISERS = (
    Recogniser(
        kind="my.nric",
        country="my",
        strength="format",
        base=0.8,
        lengths=(12,),
        accepts=_mykad,
        groupings=frozenset({(6, 2, 4)}),
        words=terms(
            "ic", "i/c", "nric", "mykad", "mypr", "mykid", "kad pengenalan", "no kp", "no. kp", "kp no",
            "nokp", "no. k/p", "no k/p", "pengenalan diri", "identity card", "identity", "identification",
            "id number", "id no", "id no.", "my id", "身份证", "身分证", "身份證", "அடையாள அட்டை",
        ),
    ),
)  # fmt: skip
