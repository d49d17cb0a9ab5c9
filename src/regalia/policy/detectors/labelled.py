"""Passports and dates of birth: found only beside a word that says what they are."""

import re
from collections.abc import Callable, Iterator

from regalia.policy.detectors.context import terms

SCORE = 0.8
_REACH = 48
_REACH_BACK = 34

_PASSPORT = terms(
    "passport", "passport no", "passport number", "pasport", "paspor", "pasipoti", "hộ chiếu", "ho chieu",
    "reisepass", "reisepassnummer", "passnummer", "paspoortnummer", "passportnummer", "passeport",
    "pasaporte", "passaporto", "paspoort", "paszport", "paszportu", "passaporte", "passi", "جواز", "الجواز",
    "جوازي", "护照", "護照", "கடவுச்சீட்டு",
)  # fmt: skip
_BIRTH = terms(
    "date of birth", "dob", "d.o.b", "d.o.b.", "born", "born on", "birth date", "birthdate", "birthday",
    "birth", "tarikh lahir", "lahir", "dilahirkan", "kelahiran", "tanggal lahir", "tgl lahir", "tgl. lahir",
    "ttl", "tarehe ya kuzaliwa", "kuzaliwa", "alizaliwa", "nilizaliwa", "amezaliwa", "ngày sinh",
    "sinh ngày", "sinh năm", "sinh", "ngay sinh", "geburtsdatum", "geburtstag", "geboren", "geb.",
    "date de naissance", "naissance", "né le", "née le", "fecha de nacimiento", "nacimiento", "nací",
    "nacido", "nacida", "data di nascita", "nascita", "nato il", "nata il", "nato", "nata", "geboortedatum",
    "data urodzenia", "urodzony", "urodzona", "urodzenia", "data de nascimento", "nascimento", "nascido",
    "nascida", "syntymäaika", "födelsedatum", "född", "الميلاد", "ميلاد", "ميلادي", "مواليد", "ولدت", "ولد",
    "出生", "生日", "பிறந்த",
)  # fmt: skip
_BIRTH_STEMS = (
    "birth", "born", "dob", "d.o.b", "lahir", "ttl", "zaliwa", "sinh", "gebo", "gebu", "geb.", "naiss",
    "né le", "née le", "nac", "nasc", "nat", "urodz", "synt", "född", "födel", "ميلاد", "مواليد", "ولد",
    "出生", "生日", "பிறந்த",
)  # fmt: skip
_PASSPORT_STEMS = (
    "passp", "passe", "passn", "paspo", "pasapo", "pasip", "reisepass", "passi", "paspor", "paszp", "chiếu",
    "chieu", "جواز", "护照", "護照", "கடவு",
)  # fmt: skip
_MONTHS = re.compile(
    # by their first three letters
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mac|mei|ogo|agu|okt|dis|des|ago|mär|mai|dez|fév|fev|avr|"
    "juin|aoû|aou|déc|ene|abr|dic|gen|mag|giu|lug|set|ott|maa|mrt|sty|lut|kwi|maj|cze|lip|sie|wrz|paź|lis|gru|out|"
    "ينا|فبر|مار|أبر|ابر|ماي|يون|يول|أغس|اغس|سبت|أكت|اكت|نوف|ديسم",
    re.IGNORECASE,
)
_PLAIN = r"[0-9]{1,2}[ ]?[-/.][ ]?[0-9]{1,2}[ ]?[-/.][ ]?(?:19|20)?[0-9]{2}(?![0-9])"
_ISO = r"(?:19|20)[0-9]{2}(?:[-/.]|年)[ ]?[0-9]{1,2}(?:[-/.]|月)[ ]?[0-9]{1,2}日?(?![0-9])"
_SPACED = r"[0-9]{2} [0-9]{2} (?:19|20)[0-9]{2}(?![0-9])|(?:19|20)[0-9]{6}(?![0-9])"
_NAMED = (
    r"[0-9]{1,2}(?:st|nd|rd|th|er|º|\.)?[ -](?:(?:of|de|di|ya) )?([^\W\d_]{3,12})\.?(?:[ ]de)?,?[ -]"
    r"(?:19|20)[0-9]{2}"
)
_LEADING = r"([^\W\d_]{3,12})\.? [0-9]{1,2}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{2}"
_VIETNAMESE = r"[0-9]{1,2} tháng [0-9]{1,2},? năm (?:19|20)[0-9]{2}"
_DATE = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_ISO}|{_PLAIN}|{_SPACED}|{_VIETNAMESE}|{_NAMED})|(?<![^\W\d_]){_LEADING}",
    re.IGNORECASE,
)
_CUT = re.compile(r"[.;\n]")
"""What parts a number before a word from it."""
_DOCUMENT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{6,10}(?![A-Za-z0-9])")


def dates_of_birth(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """The spans of dates beside a word for birth."""
    if any(stem in lower for stem in _BIRTH_STEMS):
        yield from _beside(_BIRTH, _DATE, _is_date, text, lower)


def passports(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """The spans of document numbers beside a word for passport."""
    if any(stem in lower for stem in _PASSPORT_STEMS):
        yield from _beside(_PASSPORT, _DOCUMENT, _is_document, text, lower)


def _beside(
    words: re.Pattern[str],
    form: re.Pattern[str],
    accepts: Callable[[re.Match[str]], bool],
    text: str,
    lower: str,
) -> Iterator[tuple[int, int]]:
    """What has the form and follows one of the words; where nothing does, what stands shortly before it."""
    done = 0
    for word in words.finditer(lower):
        found = _first(form, accepts, text, max(word.end(), done), word.end() + _REACH)
        if found is None:
            found = _first(
                form, accepts, text, max(word.start() - _REACH_BACK, done), word.start(), last=True
            )
            if found and _CUT.search(text, found.end(), word.start()):
                continue
        if found:
            yield found.span()
            done = found.end()


def _first(
    form: re.Pattern[str],
    accepts: Callable[[re.Match[str]], bool],
    text: str,
    start: int,
    end: int,
    last: bool = False,
) -> re.Match[str] | None:
    """The first (or last) that has the form and is accepted, between two places."""
    found = None
    for match in form.finditer(text, start, min(end, len(text))):
        if accepts(match):
            found = match
            if not last:
                break
    return found


def _is_date(found: re.Match[str]) -> bool:
    """Whether the word in a date names a month."""
    name = found.group(1) or found.group(2)
    return name is None or _MONTHS.match(name) is not None


def _is_document(found: re.Match[str]) -> bool:
    """Whether letters and digits are mixed as passports mix them: digits prevail, or nine of both kinds."""
    number = found.group()
    digits = sum(character.isdigit() for character in number)
    letters = len(number) - digits
    return (digits >= 5 and letters <= 3) or (len(number) == 9 and digits >= 3 and number.isupper())
