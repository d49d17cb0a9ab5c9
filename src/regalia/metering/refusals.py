"""What a client is told when a limit or a budget refuses its call: which one, and when it resets."""

from datetime import UTC, datetime

from regalia.errors import ApiError
from regalia.metering.book import TOKENS
from regalia.metering.money import format_amount
from regalia.metering.share import Share
from regalia.metering.window import SPAN_S, Window

_PERIODS = {"day": "a day", "month": "a month", "total": "in total"}
Headers = tuple[tuple[bytes, bytes], ...]


def too_many_at_once(scope: str, limit: int) -> ApiError:
    """As many calls are under way as may be."""
    return ApiError(
        429,
        "rate_limit_exceeded",
        f"The {scope}'s limit of {limit} calls at once is reached; try again when one of them has ended.",
        retry_after=1,
    )


def too_many_in_a_minute(
    scope: str, what: str, limit: int, used: int, requested: int, wait: int | None
) -> ApiError:
    """A window has no room."""
    if wait is None:
        return ApiError(
            429,
            "rate_limit_exceeded",
            f"The request can need {requested} {what}, more than the {scope}'s limit of {limit} {what} a "
            "minute: send a shorter one, or set a smaller `max_tokens`.",
        )
    return ApiError(
        429,
        "rate_limit_exceeded",
        f"Rate limit reached for the {scope} on {what} per minute: limit {limit}, used {used}, "
        f"requested {requested}. It resets in {wait} s.",
        retry_after=wait,
    )


def budget_used_up(share: Share, requested: int, ends: int | None, now: int) -> ApiError:
    """A hard budget has no room for the most that the call can cost."""
    budget = share.budget
    whole = f"the {budget.scope}'s budget of {_told(budget.amount, budget.unit)} {_PERIODS[budget.period]}"
    spent = share.spent + share.others
    if spent + requested <= budget.amount:  # it would fit, were it not for calls under way
        return ApiError(
            429,
            "rate_limit_exceeded",
            f"What calls under way may still need is reserved of {whole}; try again when they have ended.",
            retry_after=1,
        )
    reset = "It does not reset."
    if ends is not None:
        reset = f"It resets at {datetime.fromtimestamp(ends / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}."
    return ApiError(
        429,
        "insufficient_quota",
        f"The call can need {_told(requested, budget.unit)}, and of {whole} "
        f"{_told(max(budget.amount - spent, 0), budget.unit)} is left. {reset}",
        retry_after=None if ends is None else max((ends - now + 999) // 1000, 1),
    )


def slice_awaited(share: Share) -> ApiError:
    """This process has used its slice of a budget, and the next one is on its way."""
    return ApiError(
        429,
        "rate_limit_exceeded",
        f"The next part of the {share.budget.scope}'s budget is being fetched; try again.",
        retry_after=1,
    )


def unavailable() -> ApiError:
    """Budgets can't be counted now, so nothing is spent."""
    return ApiError(
        503,
        "metering_unavailable",
        "The budgets can't be read from the database now, so the call is not made.",
        retry_after=1,
    )


def not_priced(model: str, unit: str, currency: str | None) -> ApiError:
    """A budget of money can't be kept for a model without a price in its currency."""
    what = "has no price" if currency is None else f"has a price in {currency} only"
    return ApiError(
        403,
        "model_not_priced",
        f"A budget in {unit} holds for this call, and the model {model!r} {what}: an administrator sets one "
        "with `regalia prices set`; a price of 0 makes it free.",
        param="model",
    )


def duration(seconds: int) -> str:
    """Seconds as OpenAI's headers write them: `12s`, `1m1s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def about_window(name: bytes, window: Window, second: int) -> Headers:
    """The three `x-ratelimit-…` headers about a window; `name` is what it counts."""
    return (
        (b"x-ratelimit-limit-" + name, b"%d" % window.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % window.remaining(second)),
        (b"x-ratelimit-reset-" + name, _DURATIONS[window.reset(second)]),
    )


def _told(amount: int, unit: str) -> str:
    return f"{amount} tokens" if unit == TOKENS else f"{format_amount(amount)} {unit}"


_DURATIONS = tuple(duration(seconds).encode() for seconds in range(SPAN_S + 1))
