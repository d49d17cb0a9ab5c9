"""Made-up texts for bench/rails.py: identifiers in sentences of the countries' languages, and look-alikes."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from uuid import UUID

from bench.rails_numbers import (
    Maker,
    birthday,
    card,
    cccd,
    cmnd,
    cpr,
    digits,
    email,
    emirates_id,
    fin,
    from_faker,
    iban,
    iqama,
    kenyan_id,
    kra_pin,
    luhn_digit,
    mst,
    mykad,
    nik,
    npwp,
    nric,
    passport,
    phone,
    portuguese_nif,
    pps,
    saudi_id,
    steuer_id,
)


@dataclass(frozen=True)
class Case:
    """A text and what is in it: the span of one identifier, or none. `kind` ends a dotted kind, or is one."""

    country: str
    text: str
    kind: str = ""
    start: int = 0
    end: int = 0
    checked: bool = True


@dataclass(frozen=True)
class Kind:
    """One kind of identifier: its maker, what people call it, and whether its form can be checked.

    `bare` says that it stands by itself, so that a part of the texts may leave the label out.
    """

    name: str
    make: Maker
    labels: dict[str, tuple[str, ...]]
    checked: bool = True
    bare: bool = True


LABELLED = {
    "en": (
        "My {l} is {v}, please check my application.",
        "Applicant {n} ({l} {v}) asked for a copy of the file.",
        "{l}: {v}",
        "Please note that {v} is the {l} of {n}.",
        "Name: {n}\n{l}: {v}\nStatus: pending",
        '{{"name": "{n}", "{l}": "{v}"}}',
        "Could you update the record with {l} {v}? Thank you, {n}",
    ),
    "ms": (
        "{l} saya ialah {v}, mohon semakan.",
        "Pemohon {n}, {l} {v}, telah hadir di kaunter.",
        "{l}: {v}",
        "Sila kemas kini rekod bagi {l} {v}.",
    ),
    "id": (
        "{l} saya {v}, mohon dicek.",
        "Pemohon atas nama {n} dengan {l} {v} sudah datang.",
        "{l} : {v}",
        "Tolong perbarui data untuk {l} {v}.",
    ),
    "sw": (
        "{l} yangu ni {v}, tafadhali angalia.",
        "Mwombaji {n} mwenye {l} {v} amefika ofisini.",
        "{l}: {v}",
    ),
    "vi": ("{l} của tôi là {v}, nhờ kiểm tra giúp.", "Ông {n}, {l} {v}, đã nộp hồ sơ.", "{l}: {v}"),
    "ar": ("{l} الخاص بي هو {v} أرجو المراجعة", "يرجى التحقق من {l} {v} للسيد {n}", "{l}: {v}"),
    "zh": ("我的{l}是{v}，请查收。", "{l}：{v}"),
    "de": (
        "Meine {l} lautet {v}, bitte prüfen.",
        "Antragsteller {n}, {l} {v}, hat heute vorgesprochen.",
        "{l}: {v}",
    ),
    "fr": ("Mon {l} est le {v}, merci de vérifier.", "Le dossier de {n} ({l} {v}) est complet.", "{l} : {v}"),
    "es": (
        "Mi {l} es {v}, por favor revise mi solicitud.",
        "El solicitante {n}, con {l} {v}, ha venido hoy.",
        "{l}: {v}",
    ),
    "it": (
        "Il mio {l} è {v}, prego verificare.",
        "La signora {n}, {l} {v}, ha presentato la domanda.",
        "{l}: {v}",
    ),
    "nl": ("Mijn {l} is {v}, graag controleren.", "Aanvrager {n} met {l} {v} was hier vandaag.", "{l}: {v}"),
    "pl": ("Mój {l} to {v}, proszę sprawdzić.", "{n}, {l} {v}, złożył dziś wniosek.", "{l}: {v}"),
    "pt": ("O meu {l} é {v}, agradeço a verificação.", "{l}: {v}"),
    "fi": ("Minun {l} on {v}, tarkistakaa kiitos.", "{l}: {v}"),
    "sv": ("Mitt {l} är {v}, vänligen kontrollera.", "{l}: {v}"),
    "da": ("Mit {l} er {v}, tjek venligst.", "{l}: {v}"),
    "ro": ("{l} meu este {v}, vă rog să verificați.", "{l}: {v}"),
    "cs": ("Moje {l} je {v}, prosím o kontrolu.", "{l}: {v}"),
    "et": ("Minu {l} on {v}, palun kontrollige.", "{l}: {v}"),
    "hr": ("Moj {l} je {v}, molim provjerite.", "{l}: {v}"),
    "el": ("Ο {l} μου είναι {v}, παρακαλώ ελέγξτε.", "{l}: {v}"),
}
UNLABELLED = (
    "Update the file of {n}, {v}, by Friday.",
    "{n}\t{v}\tapproved",
    "The person we spoke about is {v} and lives in the capital.",
    "{v}",
    "Can you find out who {v} is?",
)
EVASIONS = ("arabic", "full-width", "zero-width", "spaces")

IN_ORDERS = (
    "Order {v} was shipped on Monday.",
    "Tracking number {v} is delayed at the depot.",
    "Invoice no. {v} is due next week.",
    "Please see ticket {v} for the details.",
    "Serial number {v} is out of stock.",
    "The transaction {v} failed twice.",
    "Reference {v} was closed by the archive.",
    "Booking {v} has two guests.",
    "Nombor pesanan {v} telah dihantar.",
    "Nomor resi {v} belum sampai.",
    "Faktur {v} belum dibayar.",
    "Mã đơn hàng {v} đã được giao.",
    "رقم الطلب {v} قيد الشحن",
    "Nambari ya oda {v} imetumwa.",
    "Die Bestellnummer {v} ist unterwegs.",
    "La facture {v} est payée.",
    "El pedido {v} llegó ayer.",
    "Parcel {v} is at the counter.",
    "Meter {v} was read in May.",
    "The batch {v} passed the inspection.",
    "Customer ID: {v} has no contract.",
    "The device id {v} was seen again.",
    "Session ID {v} is over.",
    '{"id": {v}, "state": "open"}',
)
PLAIN = (
    "The sensor wrote {v} into the first column.",
    "We measured {v} in the second run.",
    "{v} was the largest value of the series.",
    "The file is called {v}.log on the old server.",
    "Set the limit to {v} and try again.",
    "The answer to the puzzle is {v}.",
)

EMAIL = Kind(
    "email",
    email(
        "example.gov.my",
        "gov.sg",
        "moh.gov.ae",
        "mail.internal",
        "records.example.org",
        "hr.ministry.go.ke",
        "pajak.go.id",
        "stadt.example.de",
    ),
    {
        "en": ("e-mail", "email address"),
        "ms": ("e-mel",),
        "id": ("surel",),
        "sw": ("barua pepe",),
        "vi": ("email",),
        "ar": ("البريد",),
        "de": ("E-Mail",),
        "fr": ("courriel",),
    },
)
CARD = Kind(
    "payment_card",
    card,
    {
        "en": ("card number", "credit card"),
        "ms": ("kad kredit",),
        "id": ("kartu kredit",),
        "sw": ("kadi",),
        "vi": ("số thẻ",),
        "ar": ("بطاقة",),
        "de": ("Kreditkarte",),
    },
)
PASSPORT_LABELS = {
    "en": ("passport number", "passport no."),
    "ms": ("nombor pasport",),
    "id": ("nomor paspor",),
    "sw": ("nambari ya pasipoti",),
    "vi": ("số hộ chiếu",),
    "ar": ("رقم جواز السفر",),
    "de": ("Reisepassnummer", "Reisepass Nr."),
    "fr": ("passeport",),
}
BIRTH_LABELS = {
    "en": ("date of birth", "DOB", "birthday"),
    "ms": ("tarikh lahir",),
    "id": ("tanggal lahir",),
    "sw": ("tarehe ya kuzaliwa",),
    "vi": ("ngày sinh",),
    "ar": ("تاريخ الميلاد",),
    "de": ("Geburtsdatum",),
    "fr": ("date de naissance",),
}
PHONE_LABELS = {
    "en": ("phone number", "mobile"),
    "ms": ("nombor telefon",),
    "id": ("nomor HP",),
    "sw": ("nambari ya simu",),
    "vi": ("số điện thoại",),
    "ar": ("رقم الجوال",),
    "de": ("Telefonnummer",),
    "fr": ("téléphone",),
}
BIRTHDAYS = birthday("%d/%m/%Y", "%d-%m-%Y", "%Y-%m-%d", "%d.%m.%Y", "%-d %B %Y", "%B %-d, %Y", "%d %b %Y")


def _everyone(shapes: tuple[str, ...], phones: tuple[str, ...], *ibans: str) -> tuple[Kind, ...]:
    """The kinds that every country has."""
    return (
        EMAIL,
        CARD,
        Kind("phone", phone(*phones), PHONE_LABELS, bare=False),
        Kind("passport", passport(*shapes), PASSPORT_LABELS, checked=False, bare=False),
        Kind("passport", passport(*shapes), PASSPORT_LABELS, checked=False, bare=False),
        Kind("date_of_birth", BIRTHDAYS, BIRTH_LABELS, checked=False, bare=False),
        *(
            Kind("iban", iban(country), {"en": ("IBAN",), "ar": ("IBAN",), "de": ("IBAN",)})
            for country in ibans
        ),
    )


def _faker(name: str, locale: str, method: str, language: str, *labels: str, bare: bool = True) -> Kind:
    return Kind(name, from_faker(locale, method), {language: labels}, bare=bare)


COUNTRIES: dict[str, tuple[tuple[str, ...], tuple[Kind, ...]]] = {
    "my": (
        ("en", "ms"),
        (
            *[
                Kind(
                    "my.nric",
                    mykad,
                    {
                        "en": ("NRIC", "IC number", "MyKad number", "identity card number"),
                        "ms": ("No. KP", "nombor kad pengenalan", "No. MyKad"),
                    },
                )
            ]
            * 4,
            *_everyone(
                ("A########", "K########"),
                ("+60 12-### ####", "012-### ####", "03-#### ####", "+6019#######", "0113#######"),
            ),
        ),
    ),
    "sg": (
        ("en", "zh", "ms"),
        (
            *[
                Kind(
                    "sg.nric",
                    nric,
                    {
                        "en": ("NRIC", "NRIC No.", "identity card number"),
                        "zh": ("身份证号码",),
                        "ms": ("kad pengenalan",),
                    },
                )
            ]
            * 2,
            *[Kind("sg.fin", fin, {"en": ("FIN", "FIN number", "work pass FIN"), "zh": ("身份证号码",)})] * 2,
            *_everyone(("K#######E", "E#######N"), ("+65 9### ####", "8### ####", "+656#######", "9#######")),
        ),
    ),
    "ae": (
        ("en", "ar"),
        (
            *[
                Kind(
                    "ae.emirates_id",
                    emirates_id,
                    {
                        "en": ("Emirates ID", "EID", "ID card number"),
                        "ar": ("رقم الهوية", "رقم الهوية الإماراتية"),
                    },
                )
            ]
            * 4,
            *_everyone(
                ("N########", "A#######"),
                ("+971 50 ### ####", "055-### ####", "04 ### ####", "+97156#######"),
                "AE",
            ),
        ),
    ),
    "sa": (
        ("en", "ar"),
        (
            *[
                Kind(
                    "sa.national_id",
                    saudi_id,
                    {
                        "en": ("national ID", "Saudi ID number", "identity number"),
                        "ar": ("رقم الهوية", "رقم الهوية الوطنية"),
                    },
                )
            ]
            * 2,
            *[
                Kind(
                    "sa.iqama",
                    iqama,
                    {
                        "en": ("Iqama", "Iqama number", "residence permit number"),
                        "ar": ("رقم الإقامة", "رقم الاقامة"),
                    },
                )
            ]
            * 2,
            *_everyone(
                ("A########", "P########"),
                ("+966 50 ### ####", "055 ### ####", "05########", "+96656#######"),
                "SA",
            ),
        ),
    ),
    "ke": (
        ("en", "sw"),
        (
            *[
                Kind(
                    "ke.id",
                    kenyan_id,
                    {
                        "en": ("national ID", "ID number", "ID No.", "Identity card no."),
                        "sw": ("nambari ya kitambulisho", "kitambulisho", "namba ya kitambulisho"),
                    },
                    checked=False,
                    bare=False,
                )
            ]
            * 3,
            *[Kind("ke.kra_pin", kra_pin, {"en": ("KRA PIN", "PIN", "tax PIN"), "sw": ("PIN ya KRA",)})] * 2,
            *_everyone(
                ("A#######", "BK######", "AK0######"),
                ("+254 7## ### ###", "07## ### ###", "0110######", "+254722######"),
            ),
        ),
    ),
    "id": (
        ("id", "en"),
        (
            *[
                Kind(
                    "id.nik",
                    nik,
                    {
                        "id": ("NIK", "nomor KTP", "No. KTP", "nomor induk kependudukan"),
                        "en": ("NIK", "national ID", "KTP number"),
                    },
                )
            ]
            * 3,
            *[
                Kind(
                    "id.npwp",
                    npwp,
                    {"id": ("NPWP", "nomor NPWP"), "en": ("NPWP", "taxpayer number")},
                    bare=False,
                )
            ]
            * 2,
            *_everyone(
                ("A#######", "X1######"),
                ("+62 812-####-####", "0813########", "0857-####-####", "(021) 7#######", "+62878########"),
            ),
        ),
    ),
    "vn": (
        ("vi", "en"),
        (
            *[
                Kind(
                    "vn.cccd",
                    cccd,
                    {
                        "vi": ("CCCD", "số căn cước công dân", "số CCCD", "số định danh cá nhân"),
                        "en": ("citizen ID", "CCCD number", "national ID"),
                    },
                )
            ]
            * 3,
            Kind("vn.mst", mst, {"vi": ("mã số thuế", "MST"), "en": ("tax code",)}, bare=False),
            Kind(
                "vn.cmnd",
                cmnd,
                {"vi": ("CMND", "số chứng minh nhân dân"), "en": ("identity card",)},
                checked=False,
                bare=False,
            ),
            *_everyone(
                ("B#######", "C#######"), ("+84 90 ### ## ##", "0912 ### ###", "038#######", "024 3### ####")
            ),
        ),
    ),
    "eu": (
        ("en", "de", "fr"),
        (
            Kind(
                "eu.de.idnr",
                steuer_id,
                {"de": ("Steuer-ID", "Steueridentifikationsnummer", "IdNr")},
                bare=False,
            ),
            _faker("eu.fr.nir", "fr_FR", "ssn", "fr", "numéro de sécurité sociale", "NIR"),
            _faker("eu.it.codice_fiscale", "it_IT", "ssn", "it", "codice fiscale"),
            _faker("eu.es.dni", "es_ES", "nif", "es", "DNI", "NIF"),
            _faker("eu.es.nie", "es_ES", "nie", "es", "NIE"),
            _faker("eu.pl.pesel", "pl_PL", "pesel", "pl", "PESEL", "numer PESEL", bare=False),
            _faker("eu.nl.bsn", "nl_NL", "ssn", "nl", "BSN", "burgerservicenummer", bare=False),
            _faker("eu.be.nn", "nl_BE", "ssn", "nl", "rijksregisternummer"),
            _faker("eu.fi.hetu", "fi_FI", "ssn", "fi", "henkilötunnukseni", "henkilötunnus"),
            _faker("eu.se.personnummer", "sv_SE", "ssn", "sv", "personnummer"),
            _faker("eu.ro.cnp", "ro_RO", "ssn", "ro", "CNP"),
            _faker("eu.cz.rc", "cs_CZ", "birth_number", "cs", "rodné číslo", bare=False),
            _faker("eu.ee.ik", "et_EE", "ssn", "et", "isikukood"),
            _faker("eu.hr.oib", "hr_HR", "ssn", "hr", "OIB", bare=False),
            _faker("eu.gr.amka", "el_GR", "ssn", "el", "ΑΜΚΑ"),
            _faker("eu.at.vnr", "de_AT", "ssn", "de", "Sozialversicherungsnummer", "SVNR"),
            Kind("eu.dk.cpr", cpr, {"da": ("CPR-nummer", "CPR")}, checked=False, bare=False),
            Kind("eu.ie.pps", pps, {"en": ("PPS number", "PPSN")}),
            Kind("eu.pt.nif", portuguese_nif, {"pt": ("NIF", "número de contribuinte")}, bare=False),
            *_everyone(
                ("C01X00T47", "C#######", "##AB#####"),
                ("+49 170 #######", "+33 6 ## ## ## ##", "+34 6########", "+48 5## ### ###"),
                "DE",
                "ES",
                "PL",
            ),
        ),
    ),
}

NAMES = (
    "Tan Mei Ling",
    "Aisyah Rahman",
    "Omar Haddad",
    "Wanjiku Kamau",
    "Budi Santoso",
    "Nguyễn Thị Lan",
    "Anna Schmidt",
    "José García",
    "Fatima Al Zahra",
    "Otieno Odhiambo",
)


def cases(country: str, count: int, random: Random) -> Iterator[Case]:
    """Half of them with an identifier of the country, half with a look-alike."""
    languages, kinds = COUNTRIES[country]
    for number in range(count):
        if number % 2:
            yield Case(country, _look_alike(kinds, random))
        else:
            yield _positive(country, languages, random.choice(kinds), random)


def _positive(country: str, languages: tuple[str, ...], kind: Kind, random: Random) -> Case:
    """A text with one identifier."""
    value, name = kind.make(random), random.choice(NAMES)
    if random.random() < 0.1 and kind.name not in {"email", "date_of_birth"}:
        value = _disguised(value, random)
    if kind.bare and random.random() < 0.2:
        template, label = random.choice(UNLABELLED), ""
    else:
        language = random.choice([one for one in kind.labels if one in languages] or list(kind.labels))
        template, label = random.choice(LABELLED[language]), random.choice(kind.labels[language])
    before, _, after = template.replace("{{", "{").replace("}}", "}").partition("{v}")
    before, after = (part.replace("{l}", label).replace("{n}", name) for part in (before, after))
    return Case(
        country, before + value + after, kind.name, len(before), len(before) + len(value), kind.checked
    )


def _disguised(value: str, random: Random) -> str:
    """The identifier in other digits, or with something invisible in it."""
    way = random.choice(EVASIONS)
    if way == "arabic":
        return value.translate({ord("0") + n: 0x660 + n for n in range(10)})
    if way == "full-width":
        return value.translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    at = random.randint(2, len(value) - 2)
    return value[:at] + ("\u200b" if way == "zero-width" else "\u2060") + value[at:]


def _look_alike(kinds: tuple[Kind, ...], random: Random) -> str:
    """A text without an identifier, with something of the same looks."""
    way = random.random()
    if way < 0.35:
        return random.choice(IN_ORDERS).replace("{v}", _same_shape(random.choice(kinds), random))
    if way < 0.6:
        kind = random.choice([one for one in kinds if one.bare] or list(kinds))
        return random.choice(PLAIN).replace("{v}", _broken(kind, random))
    return random.choice(_GENERAL)(random)


def _same_shape(kind: Kind, random: Random) -> str:
    """Digits for digits: the shape of an identifier, its check digits and dates left to chance."""
    value = "482913570" if kind.name in {"email", "date_of_birth"} else kind.make(random)
    return "".join(str(random.randint(0, 9)) if one.isdigit() else one for one in value)


def _broken(kind: Kind, random: Random) -> str:
    """An identifier whose last digit or letter is one off; where that makes no difference, plain digits."""
    if kind.name in {"email", "ke.kra_pin", "id.nik", "vn.cccd", "my.nric", "eu.dk.cpr"}:
        return digits(random, random.choice([5, 6, 7, 9, 14, 18]))
    value = kind.make(random)
    last = value[-1]
    if last.isdigit():
        return value[:-1] + str((int(last) + random.randint(1, 9)) % 10)
    return value[:-1] + chr((ord(last) - 65 + random.randint(1, 3)) % 26 + 65)


def _isbn(random: Random) -> str:
    number = f"978{digits(random, 9)}"
    check = -sum(int(one) * (1, 3)[place % 2] for place, one in enumerate(number)) % 10
    return f"The book's ISBN is {number}{check}."


def _imei(random: Random) -> str:
    number = f"35{digits(random, 12)}"
    return f"The device with serial {number}{luhn_digit(number)} is locked."


_GENERAL = (
    _isbn,
    _imei,
    lambda r: f"The log begins at timestamp {r.randint(1_500_000_000, 1_790_000_000)}.",
    lambda r: f"Host 10.{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(1, 254)} answers on port 8443.",
    lambda r: f"The budget is {r.randint(10**7, 10**9):,} for the district.",
    lambda r: f"The population was {r.randint(5_000_000, 60_000_000)} in the last census.",
    lambda r: f"Version 3.{r.randint(0, 30)}.{r.randint(0, 9)} came out on 2024-0{r.randint(1, 9)}-12.",
    lambda r: f"Pi is about 3.{digits(r, 14)}, they say.",
    lambda r: f"The coordinates are {r.uniform(-4, 4):.6f}, {r.uniform(34, 41):.6f}.",
    lambda r: f"Install react@{r.randint(15, 19)}.{r.randint(0, 9)}.0 and icon@2x.png, then ask @team.",
    lambda r: (
        f"The meeting of {r.randint(1, 28)} March {r.randint(2019, 2026)} is on page {r.randint(1, 400)}."
    ),
    lambda r: f"Commit {r.getrandbits(80):020x} broke the build.",
    lambda r: f"Of {r.randint(10_000_000, 99_999_999)} requests {r.randint(100_000, 999_999)} failed.",
    lambda r: f"UUID {UUID(int=r.getrandbits(128), version=4)}",
)
