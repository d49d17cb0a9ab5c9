"""Queries (RFC 7644 3.4.2): one comparison by `eq`, and pages."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from regalia.identity.scim.errors import ScimError

MAX_RESULTS: Final = 200
_ALWAYS: Final = frozenset({"schemas", "id", "meta"})
_EQUALS: Final = re.compile(r'\s*([A-Za-z.]+)\s+eq\s+("(?:[^"\\]|\\.){0,512}"|true|false)\s*', re.IGNORECASE)


class Query(msgspec.Struct, frozen=True):
    """What is asked for: `attribute` in lower case equals `value`; "" for all. `start` counts from 1."""

    attribute: str = ""
    value: str = ""
    start: int = 1
    count: int = MAX_RESULTS


class Shown(msgspec.Struct, frozen=True):
    """Which attributes of a resource are asked for, in lower case; none named means all."""

    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    def of(self, resource: dict[str, Any]) -> dict[str, Any]:
        """The resource as it is to be shown; what identifies it is always there."""
        shown = {name for name in resource if name in _ALWAYS or self._asks(name.lower())}
        return {name: value for name, value in resource.items() if name in shown}

    def _asks(self, name: str) -> bool:
        return name in self.only if self.only else name not in self.without


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


def read_shown(asked: Mapping[str, str]) -> Shown:
    """Which attributes a request asks for; of an attribute's parts the whole is given."""
    return Shown(_names(asked.get("attributes", "")), _names(asked.get("excludedAttributes", "")))


def asked_in(document: object) -> dict[str, str]:
    """The parameters of a query that comes as a body (POST …/.search). Raises ScimError."""
    if not isinstance(document, dict):
        raise ScimError(400, "An object was expected.", "invalidSyntax")
    lists = {name: ",".join(map(str, value)) for name, value in document.items() if isinstance(value, list)}
    plain = {name: str(value) for name, value in document.items() if isinstance(value, str | int)}
    return plain | lists


def _names(text: str) -> frozenset[str]:
    names = (name.strip().rpartition(":")[2].partition(".")[0].lower() for name in text[:4096].split(","))
    return frozenset(name for name in names if name)


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
