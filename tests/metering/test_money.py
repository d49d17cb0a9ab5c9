"""Amounts are exact: nothing is lost in writing them down, and a call never costs more than was reserved."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.engines import Result
from regalia.metering.estimate import PART_TOKENS, at_most
from regalia.metering.money import (
    HIGHEST,
    MoneyError,
    Price,
    check_currency,
    format_amount,
    parse_amount,
)

AMOUNTS = st.integers(0, HIGHEST)
RATES = st.integers(0, 10**15)
TOKENS = st.integers(0, 10**7)


@given(AMOUNTS)
def test_an_amount_survives_being_written_down(amount: int) -> None:
    assert parse_amount(format_amount(amount)) == amount


@given(st.decimals(0, 10**6, places=9))
def test_an_amount_is_the_decimal_it_says(amount: object) -> None:
    assert Fraction(parse_amount(f"{amount:f}"), 10**9) == Fraction(str(amount))


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "-1", "1e3", "0.0000000001", "01", "1,5", "٣", "9999999999"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        parse_amount(text)


@pytest.mark.parametrize("text", ["eur", "EURO", "€", ""])
def test_what_is_no_currency_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        check_currency(text)


@given(RATES, RATES, RATES, RATES, TOKENS, TOKENS, TOKENS)
def test_a_cost_is_the_exact_sum_rounded_once_half_up(
    rate_in: int, rate_cached: int, rate_out: int, rate_embedding: int, tokens: int, cached: int, out: int
) -> None:
    price = Price("price_1", "m", "EUR", rate_in, rate_cached, rate_out, rate_embedding)
    used = Result(input=tokens, cached=min(cached, tokens), output=out)
    exact = Fraction((used.input - used.cached) * rate_in + used.cached * rate_cached + out * rate_out, 10**6)
    assert price.cost("chat.completions", used) == (exact + Fraction(1, 2)) // 1
    assert price.cost("embeddings", used) == (tokens * rate_embedding + 500_000) // 10**6


@given(RATES, RATES, RATES, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_no_call_costs_more_than_the_most_of_as_many_tokens(
    rate_in: int, rate_cached: int, rate_out: int, tokens: int, cached: int, out: int, more: int, longer: int
) -> None:
    price = Price("price_1", "m", "EUR", rate_in, rate_cached, rate_out, rate_in)
    for route in ("chat.completions", "embeddings"):
        used = Result(input=tokens, cached=min(cached, tokens), output=out)
        assert price.cost(route, used) <= price.most(route, tokens + more, out + longer)


@pytest.mark.parametrize(
    ("route", "document", "most"),
    [
        ("chat.completions", {"max_tokens": 10}, (612, 10, None)),
        ("chat.completions", {"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, (612, 60, None)),
        ("chat.completions", {}, (612, 99, "max_tokens")),
        ("completions", {"prompt": ["a", "b"], "max_tokens": 5, "n": 2}, (612, 20, None)),
        ("completions", {"prompt": [1, 2, 3], "max_tokens": 5, "best_of": 4}, (612, 20, None)),
        ("responses", {"max_output_tokens": 7}, (612, 7, None)),
        (
            "chat.completions",
            {"max_tokens": 1, "messages": [{"content": [{"type": "text"}, {"type": "image_url"}]}]},
            (612 + PART_TOKENS, 1, None),
        ),
        (
            "responses",
            {
                "max_output_tokens": 1,
                "input": [{"content": [{"type": "input_image"}, {"type": "input_file"}]}],
            },
            (612 + 2 * PART_TOKENS, 1, None),
        ),
        ("embeddings", {"input": "a"}, (100, 0, None)),
        ("tokenize", {"prompt": "a"}, (0, 0, None)),
    ],
)
def test_the_most_that_a_call_can_use_is_known_before_it(
    route: str, document: dict[str, object], most: tuple[int, int, str | None]
) -> None:
    found = at_most(route, document, 100, 99)
    assert (found.input, found.output, found.unset) == most
