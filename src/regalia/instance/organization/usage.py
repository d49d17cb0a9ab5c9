"""Usage and costs, in buckets of a day (UTC): that is how finely they are kept."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from regalia.errors import ApiError
from regalia.identity import Principal, require_at
from regalia.instance.organization.listing import home, own_project, served
from regalia.instance.tenancy.paging import Asked, Paging, limit_of
from regalia.instance.tenancy.tenancy import Tenancy
from regalia.metering.report import MAX_ROWS, question, usage_rows

_DAY = timedelta(days=1)
_DAYS = Paging(7, 366)
_GROUPS = {"project_id": "project", "user_id": "user", "api_key_id": "key", "model": "model"}
_FILTERS = {"project_ids": "project", "user_ids": "user", "api_key_ids": "key", "models": "model"}
_QUERY = ("start_time", "end_time", "bucket_width", "group_by", "limit", "page", *_FILTERS)
_ROUTES = {
    "completions": frozenset({"chat.completions", "completions", "responses"}),
    "embeddings": frozenset({"embeddings"}),
}
_NOT_SERVED = (
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "vector_stores",
    "code_interpreter_sessions",
    "file_search_calls",
    "web_search_calls",
)
"""What tools ask for all the same: nothing of it is ever used."""
Row = dict[str, Any]


def _serve_usage(kind: str) -> None:
    @served("GET", f"/usage/{kind}", f"Usage of {kind.replace('_', ' ')}", query=_QUERY, paging=_DAYS)
    def _usage(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
        by = _groups(asked, _GROUPS)
        rows = _rows(at, actor, asked, ("route", *by))
        wanted = _ROUTES.get(kind, frozenset())
        rows = [row for row in rows if row["route"] in wanted]

        def result(found: list[Row]) -> Row:
            told = {
                "object": f"organization.usage.{kind}.result",
                "input_tokens": _sum(found, "input"),
                "num_model_requests": sum(row["requests"] for row in found),
                **dict.fromkeys(_GROUPS),
            }
            if kind == "completions":
                told |= {
                    "output_tokens": _sum(found, "output"),
                    "input_cached_tokens": _sum(found, "cached"),
                    "input_audio_tokens": 0,
                    "output_audio_tokens": 0,
                    "batch": None,
                }
            return told | {name: found[0][column] for name, column in _GROUPS.items() if column in by}

        return _buckets(asked, rows, by, result)


for _kind in (*_ROUTES, *_NOT_SERVED):
    _serve_usage(_kind)


@served("GET", "/costs", "Costs, by currency", query=_QUERY, paging=_DAYS)
def _costs(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    by = _groups(asked, {"project_id": "project", "line_item": "model"})
    rows = [row for row in _rows(at, actor, asked, by) if row["cost"]]
    for row in rows:
        row["currency"] = row["cost"]["currency"]

    def result(found: list[Row]) -> Row:
        amount = sum((Decimal(row["cost"]["amount"]) for row in found), Decimal())
        return {
            "object": "organization.costs.result",
            "amount": {"value": float(amount), "currency": found[0]["currency"].lower()},
            "line_item": found[0]["model"] if "model" in by else None,
            "project_id": found[0]["project"] if "project" in by else None,
        }

    return _buckets(asked, rows, ("currency", *by), result)


def _rows(at: Tenancy, actor: Principal, asked: Asked, by: tuple[str, ...]) -> list[Row]:
    """The rows of the days asked for, as the filters say. Raises ApiError."""
    within = home(at, actor).id
    projects = _names(asked, "project_ids")
    if projects:
        for ident in projects:
            require_at(actor, "usage.read", within, own_project(at, actor, ident).id)
    else:
        require_at(actor, "usage.read", within)
    first, last, _ = _span(asked)
    filters = {column: _names(asked, name) for name, column in _FILTERS.items() if asked.get(name)}
    columns = dict.fromkeys(("day", *by, *filters))
    wanted = question(first.isoformat(), last.isoformat(), {"organisation": within}, columns)
    with at.database.read() as connection:
        rows = usage_rows(connection, wanted)
    if len(rows) >= MAX_ROWS:
        raise ApiError(
            400, "too_much", f"That is more than {MAX_ROWS} sums: ask for fewer days a page.", param="limit"
        )
    return [row for row in rows if all(row[column] in names for column, names in filters.items())]


def _buckets(
    asked: Asked, rows: list[Row], by: tuple[str, ...], result: Callable[[list[Row]], Row]
) -> dict[str, Any]:
    """A page of a bucket for each day, with a result for each combination of the columns in `by`."""
    first, last, more = _span(asked)
    data = []
    by_day: dict[str, list[Row]] = {}
    for row in rows:
        by_day.setdefault(row["day"], []).append(row)
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in by_day.get(day.isoformat(), ()):
            groups.setdefault(tuple(row[name] for name in by), []).append(row)
        data.append(
            {
                "object": "bucket",
                "start_time": _midnight(day),
                "end_time": _midnight(day + _DAY),
                "results": [result(found) for _, found in sorted(groups.items())],
            }
        )
    following = str(_midnight(last + _DAY)) if more else None
    return {"object": "page", "data": data, "has_more": more, "next_page": following}


def _span(asked: Asked) -> tuple[Any, Any, bool]:
    """The first and the last day of this page, and whether there are more. Raises ApiError 400."""
    if asked.get("bucket_width", "") not in ("", "1d"):
        raise ApiError(
            400, "unsupported", "Usage is kept by the day: `bucket_width` is 1d.", param="bucket_width"
        )
    begin = _moment(asked, "page" if asked.get("page") else "start_time")
    if begin is None:
        raise ApiError(400, "missing_field", "`start_time` is needed, in seconds.", param="start_time")
    now = datetime.now(UTC)
    end = min(_moment(asked, "end_time") or now, now)
    first, last = begin.date(), (end - timedelta(microseconds=1)).date()
    last = max(last, first)
    page = first + (limit_of(asked, _DAYS) - 1) * _DAY
    return first, min(last, page), page < last


def _moment(asked: Asked, name: str) -> datetime | None:
    text = asked.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise ApiError(400, "invalid_value", f"`{name}` is a time in seconds since the epoch.", param=name)
    return datetime.fromtimestamp(int(text), UTC)


def _midnight(day: Any) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _names(asked: Asked, name: str) -> list[str]:
    return [text for text in asked.get(name, "").split(",") if text]


def _groups(asked: Asked, known: dict[str, str]) -> tuple[str, ...]:
    """The columns to group by. Raises ApiError 400."""
    wanted = [name for name in _names(asked, "group_by") if name != "batch"]
    for name in wanted:
        if name not in known:
            raise ApiError(400, "invalid_value", f"Group by {', '.join(known)}.", param="group_by")
    return tuple(dict.fromkeys(known[name] for name in wanted))


def _sum(rows: list[Row], name: str) -> int:
    return sum(row["usage"][name] for row in rows)
