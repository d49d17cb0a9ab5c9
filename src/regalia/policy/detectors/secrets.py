"""Keys and credentials: the forms that issuers give them, private keys, and values assigned to telling names.

A literal that every form holds is looked for first, at the cost of a string search each; only where it stands
is the form itself tried, and it is bounded. A value behind a name such as `password` counts when it is long
and mixed enough not to be a word or a placeholder.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from regalia.policy.detector import Resources
from regalia.policy.finding import Finding, Strength

NAME = "secrets"

_ALNUM = "[A-Za-z0-9]"
_FORMS: tuple[tuple[str, str, str], ...] = (
    # kind, the literal it begins with, the form from there on
    ("secret.regalia_key", "rgl_", r"rgl_[a-z2-7]{48}"),
    ("secret.aws_access_key", "AKIA", r"AKIA[A-Z0-9]{16}"),
    ("secret.aws_access_key", "ASIA", r"ASIA[A-Z0-9]{16}"),
    ("secret.github_token", "ghp_", rf"ghp_{_ALNUM}{{36,255}}"),
    ("secret.github_token", "gho_", rf"gho_{_ALNUM}{{36,255}}"),
    ("secret.github_token", "ghu_", rf"ghu_{_ALNUM}{{36,255}}"),
    ("secret.github_token", "ghs_", rf"ghs_{_ALNUM}{{36,255}}"),
    ("secret.github_token", "ghr_", rf"ghr_{_ALNUM}{{36,255}}"),
    ("secret.github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}"),
    ("secret.gitlab_token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,64}"),
    ("secret.slack_token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    ("secret.slack_webhook", "hooks.slack.com/services/", r"hooks\.slack\.com/services/[A-Za-z0-9/]{20,80}"),
    ("secret.stripe_key", "k_live_", rf"k_live_{_ALNUM}{{16,128}}"),
    ("secret.stripe_key", "k_test_", rf"k_test_{_ALNUM}{{16,128}}"),
    ("secret.api_key", "sk-", r"sk-[A-Za-z0-9_-]{20,255}"),
    ("secret.google_key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    ("secret.google_token", "ya29.", r"ya29\.[A-Za-z0-9_-]{20,512}"),
    ("secret.huggingface_token", "hf_", rf"hf_{_ALNUM}{{30,64}}"),
    ("secret.npm_token", "npm_", rf"npm_{_ALNUM}{{36}}"),
    ("secret.pypi_token", "pypi-", r"pypi-[A-Za-z0-9_-]{50,512}"),
    ("secret.sendgrid_key", "SG.", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"),
    ("secret.digitalocean_token", "dop_v1_", r"dop_v1_[a-f0-9]{64}"),
    ("secret.databricks_token", "dapi", r"dapi[a-f0-9]{32}"),
    ("secret.age_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{50,64}"),
    ("secret.azure_key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{40,120}={0,2}"),
    ("secret.jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{10,2048}"),
)  # fmt: skip
_COMPILED = tuple((kind, literal, re.compile(form)) for kind, literal, form in _FORMS)
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=/:@")
_LEFT_OUT = bytes(code for code in range(256) if code not in _KEPT)


def _signs(text: str) -> str:
    """What prose has little of: capitals, digits and a few signs. The signs of a part are part of these."""
    return text.encode(errors="surrogatepass").translate(None, _LEFT_OUT).decode()


_SIGNS = {literal: _signs(literal) for _, literal, _ in _FORMS} | {"xox": "-"}
_BY_SIGNS = tuple(
    (signs, tuple(form for form in _COMPILED if _SIGNS[form[1]] == signs))
    for signs in dict.fromkeys(_SIGNS.values())
)
"""The forms by signs that all of them have: where these are missing, none of them is looked for."""
_UNSIGNED = "dapi"
"""The literal that has no signs."""
_RARE = frozenset("GIJ_-")
"""Of these each form has one, or of the signs and digits that are no letters; or it is unsigned."""
_AFTER_LETTERS = frozenset({"k_live_", "k_test_", "AccountKey=", "hooks.slack.com/services/"})
"""Literals that other letters may precede ("sk_live_", "rk_live_")."""

_DASHES = "-----"
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s\\]{64,}+\Z")
_PEM_LONGEST = 16_384

_JWT_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
_JWT_MOST = ((4096,), (4096, 8192), (4096, 8192, 2048))
"""How long the pieces of a JSON web token are, at most, when one, two or three of them have begun."""

_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,128}:([^\s/@]{3,256})@")

_URL_BEGUN = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,128}:[^\s/@]{0,256}\Z")
_URL_LONGEST = 512

_NAMES = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "api_key", "api-key", "api key",
    "access_key", "access key", "accesskey", "private_key", "credential", "bearer", "pwd", "kata laluan",
    "katalaluan", "kata sandi", "nenosiri", "nywila", "mật khẩu", "passwort", "kennwort", "mot de passe",
    "contraseña", "wachtwoord", "hasło", "كلمة المرور", "كلمة السر", "密码", "密碼", "கடவுச்சொல்",
)  # fmt: skip
_ASSIGNED = re.compile(
    r"""["']?(?:[ ]?(?:is|ialah|adalah|ni|là|ist|est|es|هي))?[ \t]{0,2}"""
    r"""(?:=>|:=|=|:|：|[ ](?:is|ialah|adalah|ni|là|ist)[ ]|[ ])[ \t]{0,3}(["'`]?)([^\s"'`<>]{6,512})"""
)
_LONGEST_VALUE = 512
_MORE = re.compile(r"[A-Za-z0-9+/=_.-]{0,16384}+")
"""How a value of that length may go on: encoded keys are long."""

_SURE = re.compile(r"""["']?[ \t]{0,2}(?:=>|:=|=|:|：)""")
_PLACEHOLDER = re.compile(
    r"(?i)(?:x{4,}|\*{3,}|\.{3,}|\$\{|\{\{|<|your|example|changeme|placeholder|redacted|none|null|true|false|process\.env"
    r"|os\.environ|getenv|secrets?\.|config\.|self\.|required|optional|string)"
)
_FEWEST = {"password": 6, "other": 12}


def _shape(code: int) -> bytes:
    """One byte of a text by what it may be in a value that `_is_secret` takes.

    Such a value has a character that is no letter and none of "_-." (then "#" is in its shape), or a sign
    such as "=" before it (likewise). What is cut off at a value's end counts only before something else
    (then ",a" or ",A" is). "A" are the letters of which each form has one that has no "#".
    """
    character = chr(code)
    if character.isascii():
        if character in _RARE:
            return b"A"
        if character.isalpha() or character == ".":
            return b"a"
        if character.isspace() or character in "\"'`<>":  # where a value ends
            return b" "
        if character in ",;)]}!?":
            return b","
    return b"#"


_SHAPE = b"".join(map(_shape, range(256)))
_CUT_INSIDE = re.compile(",[aA]")


class Secrets:
    """Finds credentials in a normalised text."""

    name = NAME

    def find(self, text: str) -> list[Finding]:
        """The credentials in it; of two that overlap the one of a known form."""
        shape = _shape_of(text)
        found = self._formed(text) if _may_be_formed(text, shape) else []
        if not _may_assign(shape):
            return found
        lower = text.lower()
        if len(lower) != len(text):
            lower = text
        names = _names_in(lower)
        known = [(one.start, one.end) for one in found]
        for start, end, score in _assigned(text, lower, names):
            if not any(start < other_end and other_start < end for other_start, other_end in known):
                found.append(_finding("secret.assignment", (start, end), score, "context"))
                known.append((start, end))
        return found

    def _formed(self, text: str) -> list[Finding]:
        """The credentials of known forms."""
        found: list[Finding] = []
        signs = _signs(text)
        for needed, forms in _BY_SIGNS:
            if needed in signs:
                for kind, literal, form in forms:
                    if literal in text:
                        matches = _matches(text, literal, form)
                        found += (_finding(kind, match.span(), 0.95, "format") for match in matches)
        if _DASHES in signs and "PRIVATE KEY" in text:
            found += (_finding("secret.private_key", span, 0.99, "format") for span in _private_keys(text))
        if "://" in signs and "@" in signs:
            found += (
                _finding("secret.url_password", match.span(1), 0.9, "format") for match in _URL.finditer(text)
            )
        return found

    def unfinished(self, text: str) -> int:
        """Where a token, an address or a value begins that the text's end leaves open.

        A private key is found from its first line on, and every other form sooner than a window is full.
        """
        return min(_token_begun(text), _url_begun(text), _value_begun(text))


def _shape_of(text: str) -> str:
    """What may be in each place of a text, by `_shape`."""
    return text.encode(errors="surrogatepass").translate(_SHAPE).decode()


def _may_be_formed(text: str, shape: str) -> bool:
    """Whether there may be a credential of a known form in a text: there is none in most prose."""
    return "A" in shape or "#" in shape or _UNSIGNED in text


def _may_assign(shape: str) -> bool:
    """Whether there may be a value, or a sign that assigns one, in a text: there is none in plain prose."""
    return "#" in shape or _CUT_INSIDE.search(shape) is not None


def _finding(kind: str, span: tuple[int, int], score: float, strength: Strength) -> Finding:
    return Finding(kind, span[0], span[1], score, strength, NAME)


def _matches(text: str, literal: str, form: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The form wherever its literal begins a word."""
    at = text.find(literal)
    while at >= 0:
        free = at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "_") or literal in _AFTER_LETTERS
        match = form.match(text, at) if free else None
        if match:
            yield match
        at = text.find(literal, match.end() if match else at + len(literal))


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """From a private key's first line to its last, or as much of it as the piece of text holds."""
    first = _PEM_END.search(text)
    begin = _PEM.search(text)
    if first and (begin is None or first.start() < begin.start()) and _PEM_BODY.match(text, 0, first.start()):
        yield 0, first.end()
    for begin in _PEM.finditer(text):
        end = _PEM_END.search(text, begin.end(), begin.end() + _PEM_LONGEST)
        yield begin.start(), end.end() if end else min(len(text), begin.end() + _PEM_LONGEST)


def _token_begun(text: str) -> int:
    """Where a JSON web token begins that may go on at the end of the text."""
    run = last = len(text.rstrip(_JWT_LETTERS))
    dots = len(text)
    for _ in _JWT_MOST:  # what stands before the third dot from the end has ended
        dots = text.rfind(".", run, dots) if dots >= 0 else dots
        last = dots + 1
    at = text.find("eyJ", max(run, last))
    while at >= 0:
        if at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "_"):
            begun = text[at + 3 : at + 3 + sum(_JWT_MOST[2]) + 3].split(".")
            if len(begun) <= len(_JWT_MOST) and at + 3 + sum(map(len, begun)) + len(begun) - 1 == len(text):
                most = _JWT_MOST[len(begun) - 1]
                if all(map(int.__le__, map(len, begun), most)) and all(len(one) >= 8 for one in begun[:-1]):
                    return at
        at = text.find("eyJ", at + 3)
    return len(text)


def _url_begun(text: str) -> int:
    """Where an address with a password begins that may go on at the end of the text."""
    begins = max(0, len(text) - _URL_LONGEST)
    found = _URL_BEGUN.search(text, begins) if text.find("://", begins) >= 0 else None
    return found.start() if found else len(text)


def _value_begun(text: str) -> int:
    """Where the value of a telling name begins that may go on at the end of the text."""
    begins = max(0, len(text) - 2 * _LONGEST_VALUE)
    lower = text[begins:].lower()
    if begins + len(lower) != len(text):
        lower = text[begins:]
    ends = (begins + at + len(name) for name in _names_in(lower) for at in _places(lower, name))
    values = (value for end in ends if (value := _ASSIGNED.match(text, end)))
    return min(
        (value.start(2) for value in values if _value_end(text, value) == len(text)), default=len(text)
    )


def _value_end(text: str, value: re.Match[str]) -> int:
    """Where a value ends: one that is as long as it may be goes on as an encoded key."""
    more = _MORE.match(text, value.end()) if len(value[2]) == _LONGEST_VALUE else None
    return more.end() if more else value.end()


def _names_in(lower: str) -> list[str]:
    """The telling names in a text in lower case."""
    names: list[str] = []
    for stem, those in _IN_ASCII if lower.isascii() else _BY_STEM:
        if stem in lower:
            names += [name for name in those if name in lower]
    return names


def _assigned(text: str, lower: str, names: list[str]) -> Iterator[tuple[int, int, float]]:
    """Values assigned to the names: span and score."""
    done = 0
    places = sorted((at + len(name), name in _PASSWORDS) for name in names for at in _places(lower, name))
    for place, password in places:
        value = _ASSIGNED.match(text, place) if place >= done else None
        if value is None:
            continue
        secret = value.group(2).rstrip(".,;:)]}!?")
        sure = _SURE.match(text, place) is not None
        if _is_secret(secret, password, sure):
            start = value.start(2)
            done = start + len(secret) if value.end() < start + _LONGEST_VALUE else _value_end(text, value)
            yield start, done, 0.85 if sure else 0.7


_PASSWORDS = frozenset(
    name for name in _NAMES if not re.search("token|key|secret|credential|bearer", name)
)  # fmt: skip


def _stems() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Names by a piece of them that several share, so that fewer searches say that there is none."""
    stems = ("pass", "secret", "token", "key", "credential", "bearer", "pwd", "kata")
    left = list(_NAMES)
    found = []
    for stem in (*stems, *_NAMES):
        names = tuple(name for name in left if stem in name)
        if names:
            found.append((stem, names))
            left = [name for name in left if name not in names]
    return tuple(found)


_BY_STEM = _stems()
_IN_ASCII = tuple((stem, names) for stem, names in _BY_STEM if stem.isascii())


def _places(lower: str, name: str) -> Iterator[int]:
    at = lower.find(name)
    while at >= 0:
        yield at
        at = lower.find(name, at + len(name))


def _is_secret(value: str, password: bool, sure: bool) -> bool:
    """Whether a value is mixed enough: no word, no placeholder, no name of a variable."""
    if len(value) < _FEWEST["password" if password else "other"] or _PLACEHOLDER.match(value):
        return False
    kinds = sum(
        (
            any(character.islower() for character in value),
            any(character.isupper() for character in value),
            any(character.isdigit() for character in value),
            any(not character.isalnum() and character not in "_-." for character in value),
        )
    )
    if password:
        return kinds >= (2 if sure else 3) and not value.replace("_", "").isalpha()
    return any(character.isdigit() for character in value) and kinds >= 2 and entropy(value) >= 3.0


def entropy(value: str) -> float:
    """Shannon's entropy of a value's characters, in bits a character."""
    size = len(value)
    return -sum(
        count / size * math.log2(count / size)
        for count in (value.count(character) for character in set(value))
    )


def make(options: Mapping[str, Any], resources: Resources) -> Secrets:
    """The factory that packs use; `kinds` is taken for symmetry and changes nothing."""
    del resources
    if unknown := set(options) - {"kinds"}:
        raise ValueError(f"the detector {NAME} has no option {', '.join(sorted(unknown))}")
    return Secrets()
