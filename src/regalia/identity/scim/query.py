"""Queries (RFC 7644 3.4.2): one comparison by `eq`, and pages."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from regalia.identity.scim.errors import ScimError

MAX_RESULTS: Final = 200
_EQUALS: Final = re.compile(r'\s*([A-Za-z.]+)\s+eq\s+("(?:[^"\\]|\\.){0,512}"|true|false)\s*', re.IGNORECASE)


class Query(msgspec.Struct, frozen=True):
    """What is asked for: `attribute` in lower case equals `value`; "" for all. `start` counts from 1."""

    attribute: str = ""
    value: str = ""
    start: int = 1
    count: int = MAX_RESULTS


def read_query(asked: Mapping[str, str], attributes: frozenset[str]) -> Query:
    """A query over these attributes (in lower case). Raises ScimError."""
    attribute = value = ""
    if text := asked.get("filter", ""):
        found = _EQUALS.fullmatch(text) if len(text) <= 1024 else None
        if found is None or found[1].lower() not in attributes:
            names = ", ".join(sorted(attributes))
            raise ScimError(400, f'The filter is one comparison, such as `{names} eq "…"`.', "invalidFilter")
        attribute, value = found[1].lower(), _text(found[2])
    start = max(1, _number(asked.get("startIndex", ""), 1))
    count = min(MAX_RESULTS, max(0, _number(asked.get("count", ""), MAX_RESULTS)))
    return Query(attribute, value, start, count)


def _text(literal: str) -> str:
    if not literal.startswith('"'):
        return literal.lower()
    try:
        return msgspec.json.decode(literal, type=str)
    except msgspec.DecodeError as error:
        raise ScimError(400, "The filter's text can't be read.", "invalidFilter") from error


def _number(text: str, default: int) -> int:
    if not text:
        return default
    try:
        return int(text) if len(text) <= 9 else default
    except ValueError as error:
        raise ScimError(400, "`startIndex` and `count` are numbers.", "invalidValue") from error
