"""Projects appear in the log under a pseudonym that changes with the month and needs the secret."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from regalia.identity import Pseudonyms


def ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def test_a_month_has_one_pseudonym_and_the_next_another() -> None:
    names = Pseudonyms(b"s" * 32)
    december = names.of("p", ms(2026, 12, 1))
    assert names.of("p", ms(2027, 1, 1) - 1) == december
    assert names.of("p", ms(2027, 1, 1)) != december
    assert names.of("p", ms(2026, 12, 24)) == december, "a clock that steps back finds the old name again"


def test_projects_and_secrets_differ() -> None:
    now = ms(2026, 11, 22)
    assert Pseudonyms(b"s" * 32).of("p", now) != Pseudonyms(b"s" * 32).of("q", now)
    assert Pseudonyms(b"s" * 32).of("p", now) != Pseudonyms(b"t" * 32).of("p", now)


@given(st.text(), st.integers(0, ms(2200, 1, 1)))
def test_a_pseudonym_is_32_hex_characters(project: str, when: int) -> None:
    name = Pseudonyms(b"s" * 32).of(project, when)
    assert len(name) == 32
    assert bytes.fromhex(name)
