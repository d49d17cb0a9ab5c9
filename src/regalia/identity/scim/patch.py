"""PATCH (RFC 7644 3.5.2): add, replace and remove, with the paths that provisioning clients use."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from regalia.identity.scim.errors import ScimError
from regalia.identity.scim.resources import (
    MAX_MEMBERS,
    NAME_PARTS,
    Email,
    Group,
    User,
    lowered,
    optional,
    read_emails,
    read_flag,
    read_members,
    read_names,
    read_primary,
    required,
)

PATCH_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_OPERATIONS: Final = 1000
_PREFIX: Final = re.compile(r"urn:ietf:params:scim:schemas:core:2\.0:(user|group):", re.IGNORECASE)
_SELECTED: Final = re.compile(
    r'(?P<attribute>[a-z]+)\[(?P<by>[a-z]+) eq "(?P<value>[^"]{0,512})"\](\.(?P<part>[a-z]+))?', re.IGNORECASE
)
_PARTS: Final = {part.lower(): part for part in NAME_PARTS}


class Change(msgspec.Struct, frozen=True):
    """One operation: `op` in lower case, `path` without case and schema, "" for none."""

    op: str
    path: str
    value: Any


def read_patch(document: object) -> list[Change]:
    """The operations of a request's JSON. Raises ScimError."""
    operations = lowered(document).get("operations")
    if not isinstance(operations, list) or not 0 < len(operations) <= MAX_OPERATIONS:
        raise ScimError(400, f"`Operations` is a list of 1 to {MAX_OPERATIONS}.", "invalidSyntax")
    return [_change(item) for item in operations]


def patch_user(user: User, changes: Iterable[Change]) -> User:
    """The user after the changes. Raises ScimError."""
    for change in changes:
        for path, value in _spread(change):
            user = _change_user(user, change.op, path, value)
    if not user.user_name:
        raise ScimError(400, "`userName` is needed.", "mutability")
    return user


def patch_group(group: Group, changes: Iterable[Change]) -> Group:
    """The group after the changes. Raises ScimError."""
    for change in changes:
        for path, value in _spread(change):
            group = _change_group(group, change.op, path, value)
    if len(group.members) > MAX_MEMBERS:
        raise ScimError(400, f"A group has at most {MAX_MEMBERS} members.", "tooMany")
    return group


def _change(item: object) -> Change:
    given = lowered(item)
    op, path = given.get("op"), given.get("path") or ""
    if not isinstance(op, str) or op.lower() not in ("add", "replace", "remove"):
        raise ScimError(400, "`op` is add, replace or remove.", "invalidSyntax")
    if not isinstance(path, str) or len(path) > 1024 or (not path and op.lower() == "remove"):
        raise ScimError(400, "The operation's path can't be used.", "noTarget")
    return Change(op.lower(), _PREFIX.sub("", path), given.get("value"))


def _spread(change: Change) -> list[tuple[str, Any]]:
    """An operation without a path has an object of attributes."""
    if change.path:
        return [(change.path, change.value)]
    return [(_PREFIX.sub("", name), value) for name, value in lowered(change.value).items()]


_USER: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "active": lambda value: {"active": value is not None and read_flag(value)},
    "username": lambda value: {"user_name": required({"username": value}, "userName")},
    "externalid": lambda value: {"external_id": optional(value, "externalId")},
    "displayname": lambda value: {"display_name": optional(value, "displayName") or ""},
}
"""What a plain attribute of a user becomes."""


def _change_user(user: User, op: str, path: str, value: Any) -> User:
    value = None if op == "remove" else value
    name = path.lower()
    if name in _USER:
        change = _USER[name](value)
    elif name == "name":
        given = read_names(value)
        change = {"names": user.names | given if op == "add" else given}
    elif name.startswith("name.") and (part := _PARTS.get(name[5:])):
        text = optional(value, path)
        kept = {known: other for known, other in user.names.items() if known != part}
        change = {"names": kept | ({part: text} if text else {})}
    elif name == "emails":
        emails = read_emails(value)
        change = {"emails": (*user.emails, *emails) if op == "add" else emails}
    elif selected := _SELECTED.fullmatch(path):
        return _change_selected(user, op, selected, value)
    else:
        change = {}  # an attribute that is not kept here
    return msgspec.structs.replace(user, **change)


def _change_selected(user: User, op: str, selected: re.Match[str], value: Any) -> User:
    """`emails[type eq "work"].value` and the like."""
    if selected["attribute"].lower() != "emails" or selected["by"].lower() not in ("type", "value"):
        return user
    by, wanted = selected["by"].lower(), selected["value"]
    others = tuple(email for email in user.emails if getattr(email, by).lower() != wanted.lower())
    if op == "remove":
        return msgspec.structs.replace(user, emails=others)
    part = (selected["part"] or "").lower()
    found = [email for email in user.emails if email not in others] or [
        Email("", wanted if by == "type" else "")
    ]
    if part == "value":
        changed = [msgspec.structs.replace(email, value=optional(value, "value") or "") for email in found]
    elif part == "primary":
        changed = [msgspec.structs.replace(email, primary=read_primary(value)) for email in found]
    else:
        changed = found
    return msgspec.structs.replace(user, emails=(*others, *(email for email in changed if email.value)))


def _change_group(group: Group, op: str, path: str, value: Any) -> Group:
    name = path.lower()
    change: dict[str, Any] = {}
    if name == "displayname":
        change = {"display_name": required({"displayname": value}, "displayName")}
    elif name == "externalid":
        change = {"external_id": None if op == "remove" else optional(value, "externalId")}
    elif name == "members":
        change = {"members": _members(group, op, value)}
    elif (selected := _SELECTED.fullmatch(path)) and selected["attribute"].lower() == "members":
        change = {"members": group.members - {selected["value"]}} if op == "remove" else {}
    return msgspec.structs.replace(group, **change)


def _members(group: Group, op: str, value: Any) -> frozenset[str]:
    if op == "remove" and value is None:
        return frozenset()
    given = read_members(value)
    if op == "add":
        return group.members | given
    return group.members - given if op == "remove" else given
