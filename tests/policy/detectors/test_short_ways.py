"""Where a detector sees at once that it will find nothing, looking closely finds nothing either."""

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regalia.policy.detectors import identifiers, secrets
from regalia.policy.detectors.function_words import LATIN
from regalia.policy.detectors.language import Language
from regalia.policy.detectors.secrets import Secrets

WORDS = sorted(
    {word for words in LATIN.values() for word in words.split()} | {"clinic", "Nairobi", "X1", "--"}
)
ALLOWED = [[], ["en"], ["en", "sw"], ["ms"], ["nl", "de", "fr"], ["ta"]]


class Thorough(Language):
    """Counts the words of every text by languages."""

    def _is_within(self, counted: int) -> bool:
        return False


CODES = ["en", "ms", "sw", "nl", "de", "fr", "da"]


@given(
    st.lists(st.tuples(st.sampled_from(CODES), st.integers(2, 14)), min_size=1, max_size=3),
    st.lists(st.sampled_from(WORDS), max_size=4),
    st.sampled_from([*ALLOWED, ["en"], ["nl"], ["da", "en"]]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200)
def test_a_text_within_the_allowed_languages_is_in_no_other(
    said: list[tuple[str, int]], beside: list[str], allow: list[str], draw: random.Random
) -> None:
    words = [word for code, count in said for word in draw.choices(LATIN[code].split(), k=count)]
    text = " ".join([*words, *beside])
    assert Language(allow).find(text) == Thorough(allow).find(text)


ENDS = " \n\t\x1c\xa0\"'`<>"
INSIDE = [
    "abc",
    "ABC",
    "De",
    "9",
    "_",
    "-",
    ".",
    ",",
    ";",
    ")",
    "!",
    "?",
    "$",
    "/",
    "é",
    "²",
    "\x1f",
    "\ud800",
]
VALUES = st.lists(st.sampled_from([*ENDS, ":", "=", "：", *INSIDE * 3]), max_size=8).map("".join)


@given(st.lists(st.tuples(st.sampled_from(secrets._NAMES), st.sampled_from([" ", ": ", " is ", ""]), VALUES),
                min_size=1, max_size=3))  # fmt: skip
@example([("password", " ", "ABC,def")])
@settings(max_examples=300)
def test_a_text_in_which_nothing_can_be_assigned_assigns_nothing(
    parts: list[tuple[str, str, str]],
) -> None:
    text = " ".join("".join(part) for part in parts)
    lower = text.lower() if len(text.lower()) == len(text) else text
    assigned = list(secrets._assigned(text, lower, secrets._names_in(lower)))
    assert secrets._may_assign(secrets._shape_of(text)) or not assigned


def test_a_text_has_a_shape_that_may_be_a_form_wherever_it_may_have_a_forms_beginning() -> None:
    for literal in (
        *(literal for _, literal, _ in secrets._FORMS if literal != "xox"),
        "xoxb-",
        "-----",
        "://",
    ):
        text = f"so {literal} it is"
        assert secrets._may_be_formed(text, secrets._shape_of(text)), literal


@given(
    st.text("aI ,.-_G9/:@", max_size=12), st.sampled_from([*secrets._SIGNS, "-----BEGIN PRIVATE KEY-----"])
)
def test_a_text_that_may_have_no_form_has_none(around: str, literal: str) -> None:
    for text in (around, around + literal + around):
        if not secrets._may_be_formed(text, secrets._shape_of(text)):
            assert not Secrets()._formed(text)


@given(st.integers(0, 4096), st.integers(0, 4096), st.sampled_from([["en"], ["en", "sw"], ["it", "en"]]))
@settings(max_examples=30)
def test_words_are_counted_apart_however_many_they_are(english: int, others: int, allow: list[str]) -> None:
    own, other = "the ", "und "
    text = (own * english + other * others)[:4096]
    assert Language(allow).find(text) == Thorough(allow).find(text)
    text = "\u0130" * english  # longer in small letters, each a word of its own
    assert Language(allow).find(text) == Thorough(allow).find(text)


@pytest.mark.parametrize(("kind", "form"), sorted({(kind, form) for kind, _, form in secrets._FORMS}))
def test_every_form_of_a_key_is_found_in_prose(kind: str, form: str) -> None:
    @settings(max_examples=4)
    @given(st.from_regex(re.compile(form, re.ASCII), fullmatch=True))
    def found(key: str) -> None:
        text = f"Please use {key} for it, as the ministry said."
        assert (kind, 11) in [(one.kind, one.start) for one in Secrets().find(text)]

    found()


@given(st.text("aZ0５٣९ \ud800²-", max_size=8))
def test_digits_are_seen(text: str) -> None:
    assert identifiers._holds_digits(text) == (re.search("[0-9]", text) is not None)
