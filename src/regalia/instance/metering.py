"""Prices, budgets, limits and usage of an instance, as administrators see and change them.

A change is recorded first (`admin.price_set`, `admin.budget_set`, `admin.budget_removed`, `admin.limit_set`),
with pseudonyms only, and made when the record is durable. Running processes notice it within a second. The
operations here are served by the API and asked for by the `regalia` commands.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from regalia.errors import ApiError, RegaliaError
from regalia.identity import Principal, Pseudonyms, permits, require_at
from regalia.instance.tenancy import key, organisation, project, user
from regalia.instance.tenancy.operations import operation
from regalia.instance.tenancy.paging import PAGE, Asked, limit_of, listed, page
from regalia.instance.tenancy.tenancy import Tenancy
from regalia.ledger.entries import all_entries, one_moment
from regalia.ledger.keeping import declared_minimum
from regalia.metering import store
from regalia.metering.audit import Audit, Counter, Verdict
from regalia.metering.book import EACH, SCOPES, TOKENS, Budget, Limit
from regalia.metering.money import MoneyError, Price, check_currency, format_amount, parse_amount
from regalia.metering.period import PERIODS, Period, Today
from regalia.metering.report import check_day, question, spent_by_budget, usage_rows
from regalia.storage import Database
from regalia.storage.schema.metering import budget_shares, metering_state, usage

T = TypeVar("T")
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Amount = Annotated[str, msgspec.Meta(min_length=1, max_length=24)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


_FILTERS = ("organisation", "project", "key", "user", "model", "route")


class NewPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's tokens cost, for a million, as decimals; `cached` like `input` if it is left out."""

    model: Id
    currency: str
    input: Amount = "0"
    output: Amount = "0"
    cached: Amount | None = None
    embedding: Amount = "0"


class NewBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be spent in a period: `unit` is `tokens` or a currency. One that is there is replaced."""

    scope: str
    subject: Id
    amount: Amount
    unit: str = TOKENS
    period: str = "month"
    hard: bool = True


class NewLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests and tokens a minute, calls at once; null for no limit. `*` is each without its own."""

    scope: str
    subject: Id
    requests: Count | None = None
    tokens: Count | None = None
    concurrent: Count | None = None


@operation("POST", "/prices", "Set a model's price", tag="metering", body=NewPrice)
async def set_price(at: Tenancy, actor: Principal, _asked: Asked, wanted: NewPrice) -> object:
    """A new price is in force for calls that begin after it."""
    require_at(actor, "prices.manage", "")
    try:
        price = Price(
            id=at.new_id("price"),
            model=wanted.model,
            currency=check_currency(wanted.currency),
            input=parse_amount(wanted.input),
            cached=parse_amount(wanted.input if wanted.cached is None else wanted.cached),
            output=parse_amount(wanted.output),
            embedding=parse_amount(wanted.embedding),
            created=at.clock(),
        )
    except MoneyError as error:
        raise ApiError(400, "invalid_value", f"{error}.") from error
    told = _price(price)
    fields = {name: told[name] for name in ("model", "currency", "input", "cached", "output", "embedding")}
    change = at.new_id("change")
    await at.note("admin.price_set", actor, change=change, price=price.id, **fields)
    await _change(at, actor, lambda: store.add_price(at.database, price), change)
    return told


@operation("GET", "/prices", "The prices in force", tag="metering", query=PAGE)
def list_prices(at: Tenancy, _actor: Principal, asked: Asked, _body: None) -> object:
    """Whoever calls may know what it costs."""
    book = store.load(at.database)
    return page([_price(price) for _, price in sorted(book.prices.items())], asked)


@operation("POST", "/budgets", "Set a budget", tag="metering", body=NewBudget)
async def set_budget(at: Tenancy, actor: Principal, _asked: Asked, wanted: NewBudget) -> object:
    """Set what a subject may spend in a period; what it has spent stays spent."""
    _may_manage(at, actor, wanted.scope, wanted.subject)
    if wanted.subject == EACH:
        raise ApiError(400, "invalid_value", "A budget is of one subject; limits can be for each.")
    if wanted.period not in PERIODS:
        raise ApiError(400, "invalid_value", f"`period` is one of {', '.join(PERIODS)}.", param="period")
    subject = f"{wanted.scope}:{wanted.subject}"
    period: Period = next(period for period in PERIODS if period == wanted.period)
    amount = _amount(wanted.amount, wanted.unit)
    known = await _write(lambda: store.find_budget(at.database, subject, period, wanted.unit))
    budget = Budget(
        known.id if known else at.new_id("budget"),
        subject,
        period,
        wanted.unit,
        amount,
        wanted.hard,
        known.created if known else at.clock(),
    )
    change = at.new_id("change")
    await at.note(
        "admin.budget_set",
        actor,
        change=change,
        budget=budget.id,
        scope=wanted.scope,
        subject=_pseudonym(at, wanted.scope, wanted.subject),
        period=period,
        unit=wanted.unit,
        amount=_told(amount, wanted.unit),
        hard=int(wanted.hard),
    )
    await _change(at, actor, lambda: store.set_budget(at.database, budget), change)
    return (await _budgets(at, [budget]))[0]


@operation("GET", "/budgets", "Budgets, and what is spent of them", tag="metering", query=PAGE)
def list_budgets(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    """The budgets of those whose usage the actor may read."""
    with at.database.read() as connection:
        book = store.load_from(connection)
        shown = page([one for one in book.budgets if _may_read(at, actor, one.subject)], asked)
        return {**shown, "data": _with_spent(connection, shown["data"], Today.at(at.clock()))}


@operation("DELETE", "/budgets/{budget}", "Remove a budget", tag="metering")
async def remove_budget(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    """Remove a budget; usage stays."""
    book = await _write(lambda: store.load(at.database))
    found = next((budget for budget in book.budgets if budget.id == asked["budget"]), None)
    if found is None or not _may_read(at, actor, found.subject):
        raise ApiError(404, "budget_not_found", f"There is no budget {asked['budget'][:64]!r}.")
    _may_manage(at, actor, *found.subject.split(":", 1))
    change = at.new_id("change")
    await at.note("admin.budget_removed", actor, change=change, budget=found.id)
    await _change(at, actor, lambda: store.remove_budget(at.database, found.id), change)
    return {"id": found.id, "removed": True}


@operation("POST", "/limits", "Set limits a minute and at once", tag="metering", body=NewLimit)
async def set_limit(at: Tenancy, actor: Principal, _asked: Asked, wanted: NewLimit) -> object:
    """Replace a subject's limits."""
    _may_manage(at, actor, wanted.scope, wanted.subject)
    limit = Limit(f"{wanted.scope}:{wanted.subject}", wanted.requests, wanted.tokens, wanted.concurrent)
    numbers = {name: getattr(limit, name) for name in ("requests", "tokens", "concurrent")}
    change = at.new_id("change")
    await at.note(
        "admin.limit_set",
        actor,
        change=change,
        scope=wanted.scope,
        subject=EACH if wanted.subject == EACH else _pseudonym(at, wanted.scope, wanted.subject),
        **{name: number for name, number in numbers.items() if number is not None},
    )
    await _change(at, actor, lambda: store.set_limit(at.database, limit), change)
    return {"scope": wanted.scope, "subject": wanted.subject, **numbers}


@operation("GET", "/limits", "Limits a minute and at once", tag="metering", query=PAGE)
def list_limits(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    """The limits of those whose usage the actor may read."""
    book = store.load(at.database)
    found = []
    for subject, limit in sorted(book.limits.items()):
        if _may_read(at, actor, subject):
            scope, _, name = subject.partition(":")
            numbers = {what: getattr(limit, what) for what in ("requests", "tokens", "concurrent")}
            found.append({"id": subject, "scope": scope, "subject": name, **numbers})
    return page(found, asked)


@operation(
    "GET",
    "/usage",
    "Usage and cost",
    tag="metering",
    query=("from", "to", *_FILTERS, "by", *PAGE),
)
def read_usage(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    """Usage by day, project and model, or as `by` says. Of several projects it takes a role over them."""
    wanted = {
        name: asked.get(name, "") for name in ("organisation", "project", "key", "user", "model", "route")
    }
    if wanted["project"]:
        place = project(at, actor, wanted["project"]).organisation, wanted["project"]
    elif wanted["organisation"]:
        place = organisation(at, actor, wanted["organisation"]).id, ""
    elif permits(actor, "usage.read", ""):
        place = "", ""
    else:
        wanted["project"] = actor.project
        place = actor.organisation, actor.project
    require_at(actor, "usage.read", *place)
    by = [name for name in asked.get("by", "").split(",") if name]
    query = question(asked.get("from", ""), asked.get("to", ""), wanted, by)
    limit = limit_of(asked)
    with at.database.read() as connection:
        rows = usage_rows(connection, query, at.grid, after=asked.get("after", ""), limit=limit + 1)
    return listed(rows, limit)


def verify_usage(
    database: Database, data_dir: Path, secret: bytes, first: str = "", last: str = ""
) -> Verdict:
    """Recompute usage and cost from the log, and compare. Raises ApiError, LogDamaged. The server may run."""
    for name, day in (("from", first), ("to", last)):
        if day:
            check_day(name, day)
    with database.read() as connection:
        one_moment(connection)
        begins = declared_minimum(connection)
        since = int(connection.execute(select(metering_state.c.since)).scalar_one())
        audit = Audit(first, last, since, begins=begins)
        if begins:  # the records of older prices may have left with their entries
            audit.know(store.all_prices(connection))
        for index, entry in all_entries(connection, data_dir / "log", begins):
            audit.add(index, entry)
        counters = [Counter(**row._mapping) for row in connection.execute(select(usage))]
        audit.compare(counters, Pseudonyms(secret).of)
        budgets = store.load_from(connection).budgets
        periods = list(connection.execute(select(budget_shares.c.period).distinct()).scalars())
        audit.compare_budgets(counters, budgets, spent_by_budget(connection, periods))
    return audit.verdict(len(budgets))


async def _change(at: Tenancy, actor: Principal, run: Callable[[], T], change: str) -> T:
    """Make a change that is on record; where that fails, the record says so, too. Raises ApiError."""
    try:
        return await at.make("admin.change_failed", actor, run, change=change)
    except ApiError:
        raise
    except RegaliaError as error:
        raise ApiError(409, "not_now", f"{error}.") from error


async def _write(run: Callable[[], T]) -> T:
    """Run what blocks, off the event loop. Raises ApiError 503."""
    try:
        return await asyncio.to_thread(run)
    except SQLAlchemyError as error:
        raise ApiError(503, "database_unavailable", "The database does not answer.", retry_after=1) from error
    except ApiError:
        raise
    except RegaliaError as error:
        raise ApiError(409, "not_now", f"{error}.") from error


def _may_manage(at: Tenancy, actor: Principal, scope: str, subject: str) -> None:
    """Raise ApiError unless the actor may set budgets there: 404 for what is none of theirs.

    For a person, who may be in several projects, it takes a role over the organisation; for each one of a
    scope, over the whole instance.
    """
    if scope not in SCOPES:
        raise ApiError(400, "invalid_value", f"`scope` is one of {', '.join(SCOPES)}.", param="scope")
    require_at(actor, "budgets.manage", *_place(at, actor, scope, subject))


def _place(at: Tenancy, actor: Principal, scope: str, subject: str) -> tuple[str, str]:
    """The organisation and project that a subject is in. Raises ApiError 404."""
    if subject == EACH:
        return "", ""
    if scope == "organisation":
        return organisation(at, actor, subject).id, ""
    if scope == "project":
        return project(at, actor, subject).organisation, subject
    if scope == "key":
        found = key(at, actor, subject)
        return found.organisation, found.project
    return user(at, actor, subject).organisation, ""


def _may_read(at: Tenancy, actor: Principal, subject: str) -> bool:
    scope, _, name = subject.partition(":")
    try:
        place = _place(at, actor, scope, name)
    except ApiError:
        return permits(actor, "usage.read", "")
    return permits(actor, "usage.read", *place)


def _amount(text: str, unit: str) -> int:
    if unit == TOKENS:
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise ApiError(400, "invalid_value", f"{text!r} is not a number of tokens.", param="amount")
        return int(text)
    try:
        check_currency(unit)
        return parse_amount(text)
    except MoneyError as error:
        raise ApiError(400, "invalid_value", f"{error}.", param="amount") from error


def _told(amount: int, unit: str) -> str:
    return str(amount) if unit == TOKENS else format_amount(amount)


def _pseudonym(at: Tenancy, scope: str, subject: str) -> str:
    if scope == "project":
        return at.place("", subject)["project"]
    return at.who(f"{scope}:{subject}")


def _price(price: Price) -> dict[str, Any]:
    amounts = ("input", "cached", "output", "embedding")
    return {
        "id": price.id,
        "model": price.model,
        "currency": price.currency,
        **{name: format_amount(getattr(price, name)) for name in amounts},
        "created": price.created,
    }


async def _budgets(at: Tenancy, budgets: list[Budget]) -> list[dict[str, Any]]:
    today = Today.at(at.clock())
    return await at.read(lambda connection: _with_spent(connection, budgets, today))


def _with_spent(connection: Connection, budgets: list[Budget], today: Today) -> list[dict[str, Any]]:
    """Budgets with what is spent of them in their current period."""
    spent = spent_by_budget(connection, {today.name(period) for period in PERIODS})
    found = []
    for budget in budgets:
        current = today.name(budget.period)
        used = spent.get((budget.id, current), 0)
        scope, _, subject = budget.subject.partition(":")
        found.append(
            {
                "id": budget.id,
                "scope": scope,
                "subject": subject,
                "period": budget.period,
                "current": current,
                "unit": budget.unit,
                "amount": _told(budget.amount, budget.unit),
                "spent": _told(used, budget.unit),
                "left": _told(max(budget.amount - used, 0), budget.unit),
                "hard": budget.hard,
                "exceeded": used > budget.amount,
            }
        )
    return found


__all__ = [
    "NewBudget",
    "NewLimit",
    "NewPrice",
    "list_budgets",
    "list_limits",
    "list_prices",
    "read_usage",
    "remove_budget",
    "set_budget",
    "set_limit",
    "set_price",
    "verify_usage",
]
