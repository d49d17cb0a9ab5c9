"""Lists in pages, in OpenAI's shape: `limit` and `after` in; `first_id`, `last_id`, `has_more` out.

No list is cut silently: where `has_more` is true, the next page is the one `after` `last_id`. A page of rows
may hold fewer than `limit`, even none, where many rows are none of the asker's business: it still leads on.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, literal, tuple_

from regalia.errors import ApiError

Asked = Mapping[str, str]
ALL: Asked = MappingProxyType({})
"""Nothing asked: the first page, of the usual length."""
PAGE = ("limit", "after")
"""The parameters of a list."""
MOST_LOOKED_AT = 20_000
"""How many rows one page looks at."""
_CHUNK = 1_000


class Paging(msgspec.Struct, frozen=True):
    """How long a page is: where nobody says, and at most."""

    usual: int = 100
    most: int = 1_000


USUAL = Paging()


def page(objects: Sequence[Any], asked: Asked, paging: Paging = USUAL) -> dict[str, Any]:
    """The page that `limit`, `after` and `before` ask for of objects with ids. Raises ApiError 400."""
    limit = limit_of(asked, paging)
    first, last = 0, len(objects)
    try:
        if asked.get("after"):
            first = _index(objects, asked["after"]) + 1
        if asked.get("before"):
            last = _index(objects, asked["before"])
    except StopIteration as error:
        raise ApiError(400, "invalid_value", "`after` and `before` name an object of the list.") from error
    return listed(objects[first : min(last, first + limit + 1)], limit)


def page_of_rows(
    connection: Connection,
    query: Select[Any],
    order: tuple[ColumnElement[Any], ColumnElement[Any]],
    asked: Asked,
    shown: Callable[[Row[Any]], Any | None],
    *,
    newest: bool = False,
    paging: Paging = USUAL,
) -> dict[str, Any]:
    """The page of what `shown` makes of rows (None leaves one out), in the order of two columns.

    The second of these is the id. The oldest come first unless `newest` says otherwise. Raises ApiError 400.
    """
    limit, (place, ident) = limit_of(asked, paging), order
    after: tuple[Any, ...] | None = None
    if asked.get("after"):
        named = connection.execute(query.with_only_columns(place, ident).where(ident == asked["after"]))
        if (row := named.first()) is None:
            raise ApiError(400, "invalid_value", "`after` names an object of the list.", param="after")
        after = (row[0], row[1])
    query = query.order_by(*((place.desc(), ident.desc()) if newest else (place, ident)))
    query = query.add_columns(place.label("_place"), ident.label("_ident"))
    found: list[Any] = []
    looked_at = 0
    more = True
    while more and len(found) <= limit and looked_at < MOST_LOOKED_AT:
        rows = connection.execute(_beyond(query, order, after, newest).limit(_CHUNK)).all()
        more = len(rows) == _CHUNK
        for one_row in rows:
            looked_at, after = looked_at + 1, (one_row._place, one_row._ident)
            if (one := shown(one_row)) is not None:
                found.append(one)
            if len(found) > limit:
                break
    answer = listed(found, limit, more=more)
    if more and len(found) <= limit and after is not None:
        answer["last_id"] = after[1]
    return answer


def listed(objects: Sequence[Any], limit: int, *, more: bool = False) -> dict[str, Any]:
    """A list object of the first `limit` objects; `more` says that there are others anyway."""
    shown = list(objects[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": _ident(shown[0]) if shown else None,
        "last_id": _ident(shown[-1]) if shown else None,
        "has_more": more or len(objects) > limit,
    }


def limit_of(asked: Asked, paging: Paging = USUAL) -> int:
    """The page's length. Raises ApiError 400."""
    text = asked.get("limit") or str(paging.usual)
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= paging.most:
        raise ApiError(400, "invalid_value", f"`limit` is a number from 1 to {paging.most}.", param="limit")
    return int(text)


def _beyond(
    query: Select[Any],
    order: tuple[ColumnElement[Any], ColumnElement[Any]],
    after: tuple[Any, ...] | None,
    newest: bool,
) -> Select[Any]:
    if after is None:
        return query
    position = tuple_(*(literal(value, column.type) for value, column in zip(after, order, strict=True)))
    return query.where(tuple_(*order) < position if newest else tuple_(*order) > position)


def _index(objects: Sequence[Any], ident: str) -> int:
    return next(index for index, one in enumerate(objects) if _ident(one) == ident)


def _ident(one: Any) -> str:
    return str(one["id"] if isinstance(one, Mapping) else one.id)
