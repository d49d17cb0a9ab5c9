import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.policy.normalise import normalise

TRICKY = st.text(
    alphabet=st.one_of(
        st.sampled_from("09aZ @.-\u200b\u202e\u0301\u0303\u20e3\ufe0f\u0660\u0669\uff10\u0966"),
        st.sampled_from("\u0410\u0391\U000e0041\U0001d7d8\ufb01"),
        st.characters(),
    ),
    max_size=60,
)  # fmt: skip


@given(TRICKY)
def test_a_normalised_text_is_never_longer_and_its_positions_rise_through_the_original(text: str) -> None:
    plain = normalise(text)
    origins = [plain.origin(position) for position in range(len(plain.text))]
    assert len(plain.text) <= len(text)
    assert origins == sorted(set(origins))
    assert all(0 <= origin < len(text) for origin in origins)


@given(TRICKY)
def test_a_character_comes_from_where_its_origin_says(text: str) -> None:
    plain = normalise(text)
    for position, character in enumerate(plain.text):
        origin = text[plain.origin(position)]
        folded = unicodedata.normalize("NFKD", origin)[0] if origin else ""
        if character.isascii() and origin.isascii():
            assert character == origin
        if folded.isascii() and folded.isalnum() and not character.isascii():
            assert unicodedata.normalize("NFKD", character)[0] == folded


@given(TRICKY)
def test_a_second_pass_changes_no_digit(text: str) -> None:
    once = normalise(text).text
    digits = [character for character in once if character.isdecimal()]
    assert all(character.isascii() for character in digits)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_is_returned_as_it_came(text: str) -> None:
    plain = normalise(text)
    assert plain.text is text
    assert plain.span(0, len(text)) == (0, len(text))


@pytest.mark.parametrize(
    "written",
    [
        "٩٠٠١٠١-١٤-٥٥٦٧",
        "９００１０１－１４－５５６７",
        "९००१०१-१४-५५६७",
        "900101\u200b-1\u20604-5567",
        "9\u202e00101\u201114\u22125567",
        "𝟗𝟎𝟎𝟏𝟎𝟏-𝟏𝟒-𝟓𝟓𝟔𝟕",
        "9\ufe0f\u20e30\ufe0f\u20e30101-14-5567",
        "9\u03360\u03360101-14-5567",
    ],
)
def test_a_number_reads_the_same_however_its_digits_are_disguised(written: str) -> None:
    assert normalise(written).text == "900101-14-5567"


def test_a_span_covers_what_was_hidden_inside_it_and_nothing_at_its_ends() -> None:
    text = "x \u200b1\u200b2\u200b3\u200b y"
    plain = normalise(text)
    start = plain.text.index("123")
    assert text[slice(*plain.span(start, start + 3))] == "1\u200b2\u200b3"


def test_letters_with_their_marks_become_one_and_map_back() -> None:
    text = unicodedata.normalize("NFD", "mật khẩu: số 12")
    plain = normalise(text)
    assert plain.text == "mật khẩu: số 12"
    start = plain.text.index("12")
    assert text[slice(*plain.span(start, start + 2))] == "12"


def test_look_alike_letters_are_latin_only_beside_digits() -> None:
    assert normalise("А012345678Z").text == "A012345678Z"
    assert normalise("Привет, мир").text == "Привет, мир"
