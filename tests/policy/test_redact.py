"""Placeholders given, put back, waited for; edits made: pure functions, tried by example and by property."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regalia.gateway.guard_lanes import Lane
from regalia.policy.decide import Hit
from regalia.policy.finding import Finding
from regalia.policy.redact import Redactor, in_string, merged, rewrite, within_json


def hit(start: int, end: int, kind: str = "ke.id", text: int = 0) -> Hit:
    return Hit(text, Finding(kind, start, end, 0.9, "format", "d"))


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.sampled_from(["a", "b.c"])), max_size=8)


@given(SPANS)
def test_merged_spans_are_ordered_apart_and_cover_the_same(spans: list[tuple[int, int, str]]) -> None:
    given_spans = [(start, start + length, kind) for start, length, kind in spans]
    result = merged(given_spans)
    assert all(first[1] <= second[0] for first, second in pairwise(result))
    covered = {place for start, end, _ in given_spans for place in range(start, end)}
    assert covered == {place for start, end, _ in result for place in range(start, end)}


@given(st.text("abc⟦⟧1_", max_size=80), SPANS)
def test_what_was_redacted_is_restored_exactly(text: str, spans: list[tuple[int, int, str]]) -> None:
    redactor = Redactor()
    hits = [
        hit(start, min(start + length, len(text)), kind) for start, length, kind in spans if start < len(text)
    ]
    edits = redactor.edits([text], hits).get(0, [])
    redacted = rewrite(text, edits)
    assert rewrite(redacted, redactor.restored(redacted)) == text


@given(st.text("abc", max_size=60), SPANS, st.lists(st.integers(0, 60), max_size=6))
def test_rewriting_pieces_gives_what_rewriting_the_whole_gives(
    text: str, spans: list[tuple[int, int, str]], cuts: list[int]
) -> None:
    inside = merged((start, min(start + length, len(text)), kind) for start, length, kind in spans)
    edits = [(start, end, f"<{kind}>") for start, end, kind in inside]
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [rewrite(text[start:end], edits, start) for start, end in pairwise(edges)]
    assert "".join(pieces) == rewrite(text, edits)


def test_the_same_text_has_the_same_placeholder_within_a_call() -> None:
    redactor = Redactor()
    texts = ["Ana and Ben", "Ben"]
    edits = redactor.edits(texts, [hit(0, 3), hit(8, 11), hit(0, 3, text=1)])
    assert [rewrite(text, edits[n]) for n, text in enumerate(texts)] == [
        "⟦KE_ID_1⟧ and ⟦KE_ID_2⟧",
        "⟦KE_ID_2⟧",
    ]


def one_redacted(text: str = "Ben") -> Redactor:
    """A call in which `⟦KE_ID_1⟧` stands for Ben, who is at the end of the text."""
    redactor = Redactor()
    redactor.edits([text], [hit(len(text) - 3, len(text))])
    return redactor


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("so KE_ID_1.", "so Ben."),
        ("[KE_ID_1] (KE_ID_1) **KE_ID_1** KE_ID_1's", "[Ben] (Ben) **Ben** Ben's"),
        ("⟦KE_ID_1 and KE_ID_1⟧", "Ben and Ben"),
        ("x⟦KE_ID_1⟧x", "xBenx"),
        ('{"a":"\\nKE_ID_1\\n"}', '{"a":"\\nBen\\n"}'),
    ],
)
def test_a_placeholder_is_restored_without_its_brackets(said: str, told: str) -> None:
    assert rewrite(said, one_redacted().restored(said)) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("您的号码是KE_ID_1号。", "您的号码是Ben号。"),
        ("KE_ID_1一样", "Ben一样"),
        ("番号KE_ID_1です", "番号Benです"),
        ("KE_ID_1nya, nombor KE_ID_1lah", "Bennya, nombor Benlah"),
        ("naKE_ID_1 yaKE_ID_1", "naBen yaBen"),
        ("رقمكKE_ID_1هو", "رقمكBenهو"),
        ("وKE_ID_1، بـKE_ID_1", "وBen، بـBen"),
        ("KE_ID_1இல் KE_ID_1ின்", "Benஇல் Benின்"),
        ("KE_ID_1のÉKE_ID_1É", "BenのÉBenÉ"),
        ("⟦KE_ID_1nya", "Bennya"),
        ("e\u0301KE_ID_1\u0301", "e\u0301Ben\u0301"),
        ("x\\\\nKE_ID_1", "x\\\\nBen"),
    ],
)
def test_a_placeholder_without_brackets_is_restored_beside_letters_that_are_of_no_name(
    said: str, told: str
) -> None:
    assert rewrite(said, one_redacted().restored(said)) == told


@pytest.mark.parametrize(
    "said",
    ["KE_ID_10", "KE_ID_2", "XKE_ID_1", "KE_ID_1_", "_KE_ID_1", "KE_ID_1X", "4KE_ID_1", "ke_id_1", "KE_ID",
     "KE_ID_1٢", "KE_ID_1２", "KE_ID_1²", "⟦KE_ID_1٢", "KE_ID_1KE_ID_1", "X⟦KE_ID_10⟧", "KE_ID_1०nya"],
)  # fmt: skip
def test_what_may_be_another_name_is_left(said: str) -> None:
    assert not one_redacted().restored(said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("\\u27e6KE_ID_1\\u27e7", "Ben"),
        ("\\u27E6KE_ID_1\\u27E7", "Ben"),
        ("\\u0645KE_ID_1\\u0645 \\u00E9KE_ID_1", "\\u0645Ben\\u0645 \\u00E9Ben"),
        ("\\\\u27e6KE_ID_1⟧", "\\\\u27e6Ben"),
        ("\\\\\\u27e6KE_ID_1⟧", "\\\\Ben"),
        ("\\" * 33 + "u27e6KE_ID_1⟧", "\\" * 33 + "u27e6Ben"),
    ],
)
def test_brackets_and_letters_may_be_escaped_as_in_json(said: str, told: str) -> None:
    assert rewrite(said, one_redacted().restored(said)) == told


def test_a_name_that_the_caller_writes_is_given_to_nobody() -> None:
    redactor = one_redacted("KE_ID_1 is not xKE_ID_2x, nor Ben")
    assert redactor.originals == {"⟦KE_ID_3⟧": "Ben"}
    assert not redactor.restored("KE_ID_1 ⟦KE_ID_1⟧ KE_ID_2 ⟦KE_ID_2⟧")


def test_kinds_that_are_spelled_alike_share_no_placeholder() -> None:
    redactor = Redactor()
    redactor.edits(["Ana Ben"], [hit(0, 3, "a.b"), hit(4, 7, "a_b")])
    assert sorted(redactor.originals.values()) == ["Ana", "Ben"]


def test_an_unfinished_placeholder_waits() -> None:
    redactor = one_redacted()
    waits = {
        "so ⟦KE_": 3, "so ⟦": 3, "so KE": 3, "so KE_ID_1": 3, "so ⟦KE_ID_1": 3,
        "so ⟦KE_ID_1⟧ it": 15, "so ⟦MINE": 8, "so KE_ID_10": 11, "soKE_": 2, "号KE": 1, "": 0,
        "KE_ID_1n": 8, "KE_ID_1号": 8, "KE_ID_1\u0301": 8, "KE_ID_1٢": 8, "XKE_": 4, "4KE_": 4,
        "so \\": 3, "so \\u27": 3, "so \\u28": 7, "so \\\\u27": 8, "so \\u27e6KE_": 3, "so \\u0645KE": 9,
        "KE_ID_1\\u27": 0, "KE_ID_1\\u28": 11, "KE_\\u27": 3, "KE_ID_1\\u27e7": 13,
    }  # fmt: skip
    assert {text: redactor.unfinished(text) for text in waits} == waits
    assert redactor.unfinished("K" * 100) == 100, "not for ever"
    assert Redactor().unfinished("so ⟦KE_") == 7, "nothing was redacted"


LONG_KIND = "eu." + "long" * 16
NAMES = ["KE_ID_1", "KE_ID_2", "EMAIL_1", f"EU_{'LONG' * 14}L_1"]
OTHERS = ["KE_ID_12", "KE_ID_", "KE", "EU_LONGLONG", "⟦", "⟧", "\\u27e6", "\\u27e7", "\\u0645", "\\u00E9",
          "\\", "nya", "号", "٢", "_", "X", "E", "1", " ", "\u0301", "\\u2", "7", "e", "ⓔ", "*"]  # fmt: skip


def four_redacted() -> Redactor:
    redactor = Redactor()
    text = "Ana Ben a@b Eve"
    redactor.edits([text], [hit(0, 3), hit(4, 7), hit(8, 11, "email"), hit(12, 15, LONG_KIND)])
    assert sorted(redactor.originals) == sorted(f"⟦{name}⟧" for name in NAMES)
    return redactor


@given(st.lists(st.sampled_from([*NAMES, *NAMES, *OTHERS]), max_size=9).map("".join))
@example(f"X{NAMES[3]}")
def test_what_waits_is_what_may_become_a_placeholder_and_no_more(text: str) -> None:
    redactor = four_redacted()
    in_the_end = redactor.restored(text)
    for cut in range(len(text) + 1):
        so_far, waits = text[:cut], redactor.unfinished(text[:cut])
        left = [edit for edit in redactor.restored(so_far) if edit[0] < waits]
        assert left == [edit for edit in in_the_end if edit[0] < waits], "what has left is as in the end"
        if waits < cut:
            assert any(
                start == waits and end > cut
                for whole in [f"{opens}{name}{closes}" for name in NAMES
                              for opens in ("", "⟦", "\\u27e6") for closes in ("⟧", "\\u27e7")]
                if whole.startswith(text[waits:cut])
                for start, end, _ in redactor.restored(text[:waits] + whole)
            ), "something that begins there may still be put back"  # fmt: skip


def test_edits_in_json_stay_json() -> None:
    text = '{"a": 12, "b": "1\\"2 34"}'
    numbers = [(6, 8, 'x"y'), (21, 23, 'x"y')]
    assert rewrite(text, within_json(text, numbers)) == '{"a": "x\\"y", "b": "1\\"2 x\\"y"}'
    assert in_string('{"a\\"b')
    assert not in_string('{"a\\"b"')


@given(st.text('\\"ab', max_size=30), st.lists(st.integers(0, 40), max_size=6))
def test_a_lane_that_forgets_text_knows_whether_it_is_within_a_string(said: str, places: list[int]) -> None:
    lane = Lane(0, frozenset({"output"}), json=True)
    lane.tail = f'{{"{said}'
    whole = lane.tail
    for place in sorted(places):
        lane.forget(min(place, lane.end))
        assert in_string(lane.tail, lane.inside) == in_string(whole)
