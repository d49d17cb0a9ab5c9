"""Numbers, dates and names: what is the same in another spelling, and what is not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.policy.grounding import Sources
from regalia.policy.grounding.dates import dates
from regalia.policy.grounding.names import names
from regalia.policy.grounding.numbers import numbers
from regalia.policy.grounding.sentences import LONGEST, sentences
from regalia.policy.normalise import normalise


def unsupported(answer: str, source: str) -> list[str]:
    """The facts of an answer that a source does not have."""
    text, known = normalise(answer).text, Sources([source])
    dated = dates(text)
    plain = list(text)  # what the detector does, without a detector
    for date in dated:
        plain[date.start : date.end] = " " * (date.end - date.start)
    missing = [one for one in dated if not known.supports_date(one)]
    missing += [one for one in numbers("".join(plain)) if not known.supports_number(one)]  # type: ignore[misc]
    text = "".join(plain)
    missing += [one for one in names(text, sentences(text)) if not known.supports_name(one)]  # type: ignore[misc]
    return [normalise(answer).text[one.start : one.end] for one in missing]


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("It costs 15,000 shillings.", "The price is 15000."),
        ("It costs 15.000 rupiah.", "Harganya Rp 15,000."),
        ("It costs 15 000 euros.", "The price is €15,000.00."),
        ("There are ١٢٥ of them.", "There are 125."),
        ("There are 125 of them.", "هناك ١٢٥ منها."),
        ("It grew by 7.5 %.", "It grew by 7,5 percent."),
        ("It grew by ٧٫٥٪.", "It grew by 7.5 percent."),
        ("Naik 7.5 peratus.", "It grew by 7.5%."),
        ("It carried 4.2 million.", "It carried 4,200,000 passengers."),
        ("Giá là 15 triệu đồng.", "Giá 15.000.000 đồng."),
        ("Shilingi bilioni 1.3 zilitumika.", "It cost 1,300,000,000 shillings."),
        ("一共4.2万人。", "There were 42000."),
        ("Take 3 tablets.", "Take three tablets."),
        ("Ambil 14 hari.", "Tempoh: 14 hari"),
        ("It opens at 9:30.", "Opening hours: 9.30 to 18.00"),
        ("It closes at 18:00.", "Opening hours: 9.30 to 18.00"),
        ("It closes at 6:00 pm.", "It closes at 6 pm."),
        ("The 1st of 3 steps costs 5kg.", "Step 1 of 3: 5 kg"),
        ("Use form B12a.", "Form B12a is needed."),
        ("It began on 3 May 2024.", "Start: 2024-05-03"),
        ("It began on May 3rd, 2024.", "Bermula 3 Mei 2024"),
        ("It began on 3/5/2024.", "Start: 3 May 2024"),
        ("بدأ في ٣ مايو ٢٠٢٤.", "It began on 3 May 2024."),
        ("Bắt đầu ngày 3 tháng 5 năm 2024.", "Start: 03.05.2024"),
        ("2024年5月3日开始。", "It began on 3 May 2024."),
        ("It began in May 2024.", "Start: 3 May 2024"),
        ("It began on 3 May.", "Start: 3 May 2024"),
        ("It began in 2024.", "Start: 3 May 2024"),
        ("It was signed by Amina Hassan.", "Signed: Hassan, Amina"),
        ("It was signed by Dr Amina Hassan's office.", "Amina Hassan signed."),
        ("Ask the World Health Organization or the WHO.", "The World Health Organization answers."),
        ("It was signed by Nguyen Thi Lan.", "Cô Nguyễn Thị Lan đã ký."),
        ("It is for Kenyans.", "Everybody in Kenya may apply."),
        ("Then I asked on Monday.", "Somebody asked."),
        ("It was signed by Amina Hassan.", "وقعت أمينة حسن على الرسالة."),
    ],
)
def test_another_spelling_of_what_is_given_is_supported(answer: str, source: str) -> None:
    assert unsupported(answer, source) == []


@pytest.mark.parametrize(
    ("answer", "source", "missing"),
    [
        ("It costs 15,500 shillings.", "The price is 15000.", ["15,500"]),
        ("It costs RM 500.", "It costs 500 euros.", ["RM 500"]),
        ("It grew by 5%.", "It took 5 days.", ["5%"]),
        ("It carried 4.2 billion.", "It carried 4.2 million.", ["4.2 billion"]),
        ("It carried 42 million.", "It carried 4.2 million.", ["42 million"]),
        ("There are ١٥٢ of them.", "There are 125.", ["152"]),
        ("Ambil 21 hari.", "Buka 9.00 pagi, tempoh 14 hari.", ["21"]),
        ("It opens at 9:45.", "Opening hours: 9.30 to 18.00", ["9:45"]),
        ("Use form B13a.", "Form B12a is needed.", ["B13a"]),
        ("It began on 13 May 2024.", "Start: 2024-05-03", ["13 May 2024"]),
        ("It began on 3 June 2024.", "Start: 2024-05-03", ["3 June 2024"]),
        ("It began on 3 May 2023.", "Start: 2024-05-03", ["3 May 2023"]),
        ("It began on 3 May 2024.", "Start: May 2024", ["3 May 2024"]),
        ("It was signed by Fatma Hassan.", "Signed: Hassan, Amina", ["Fatma Hassan"]),
        (
            "It was signed by Ahmad Rahman.",
            "Ahmad Karim paid, and much later came Siti Rahman.",
            ["Ahmad Rahman"],
        ),
        ("Ask the UNHCR.", "The World Health Organization answers.", ["UNHCR"]),
        ("The office is in Mombasa.", "The office is in Kisumu.", ["Mombasa"]),
    ],
)
def test_what_is_not_given_is_not_supported(answer: str, source: str, missing: list[str]) -> None:
    assert unsupported(answer, source) == missing


@given(
    st.integers(1, 10**9),
    st.sampled_from([",", ".", " ", "'", ""]),
    st.sampled_from([",", ".", " ", "'", ""]),
)
def test_a_whole_number_is_itself_whatever_separates_its_thousands(value: int, one: str, other: str) -> None:
    told, known = (f"{value:,}".replace(",", mark) for mark in (one, other))
    assert unsupported(f"there were {told} of them", f"there were {known} of them") == []


@given(st.integers(2000, 2099), st.integers(1, 12), st.integers(1, 28), st.integers(1, 28))
def test_another_day_is_never_supported(year: int, month: int, day: int, other: int) -> None:
    answer, source = f"on {year}-{month:02}-{day:02}", f"on {year}-{month:02}-{other:02}"
    assert bool(unsupported(answer, source)) is (day != other)


@given(st.text(alphabet="ab5.,! \n?،؟é大。A", max_size=1500))
def test_sentences_are_bounded_in_order_and_hold_all_that_is_written(text: str) -> None:
    spans = sentences(text)
    assert all(0 < end - start <= LONGEST for start, end in spans)
    assert spans == sorted(spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered for place, one in enumerate(text) if not one.isspace())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Dr. Amina came. She paid 1.5 million. Then she left!", 3),
        ("See example.org for more. It is free.", 2),
        ("挂号费为20元。急诊费为50元。", 2),
        ("كم السعر؟ ثمانية دراهم.", 2),
        ("- first item\n- second item\n", 2),
    ],
)
def test_a_full_stop_inside_a_number_or_a_name_ends_no_sentence(text: str, count: int) -> None:
    assert len(sentences(normalise(text).text)) == count


@pytest.mark.parametrize(
    "hostile", ["1 000", "A ", "3 May ", "1.", "a1", "[1", "⟦A", "1月", ". ", "Rp ", "9:00"]
)
def test_a_long_hostile_text_is_read_to_its_end(hostile: str) -> None:
    text = hostile * (10_000 // len(hostile))
    assert unsupported(text, text) == []
