"""Users and groups, between SCIM's JSON and plain data."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from regalia.identity.scim.errors import ScimError

USER_SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
MAX_TEXT: Final = 512
MAX_EMAILS: Final = 20
MAX_MEMBERS: Final = 50_000
"""How many members a group has at most, however they come."""
NAME_PARTS: Final = ("formatted", "familyName", "givenName")


class Email(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address of a user."""

    value: str
    type: str = ""
    primary: bool | None = None


class User(msgspec.Struct, frozen=True):
    """A user as the client describes it. `names` are the parts of `name`."""

    user_name: str
    external_id: str | None = None
    active: bool = True
    display_name: str = ""
    names: dict[str, str] = {}
    emails: tuple[Email, ...] = ()

    @property
    def title(self) -> str:
        """How a person is to be called."""
        parts = f"{self.names.get('givenName', '')} {self.names.get('familyName', '')}".strip()
        return self.display_name or self.names.get("formatted", "") or parts or self.user_name

    @property
    def address(self) -> str:
        """The address that counts, "" if there is none."""
        primary = [email.value for email in self.emails if email.primary]
        return (primary or [email.value for email in self.emails] or [""])[0]


class Group(msgspec.Struct, frozen=True):
    """A group as the client describes it; `members` are ids of users."""

    display_name: str
    external_id: str | None = None
    members: frozenset[str] = frozenset()


def lowered(document: object) -> dict[str, Any]:
    """An object by its attributes' names without case. Raises ScimError."""
    if not isinstance(document, dict):
        raise ScimError(400, "An object was expected.", "invalidSyntax")
    return {str(name).lower(): value for name, value in document.items()}


def read_user(document: object) -> User:
    """A user out of a request's JSON. Raises ScimError."""
    given = lowered(document)
    return User(
        user_name=required(given, "userName"),
        external_id=optional(given.get("externalid"), "externalId"),
        active=read_flag(given.get("active", True)),
        display_name=optional(given.get("displayname"), "displayName") or "",
        names=read_names(given.get("name")),
        emails=read_emails(given.get("emails")),
    )


def read_group(document: object) -> Group:
    """A group out of a request's JSON. Raises ScimError."""
    given = lowered(document)
    return Group(
        display_name=required(given, "displayName"),
        external_id=optional(given.get("externalid"), "externalId"),
        members=read_members(given.get("members")),
    )


def read_flag(value: object) -> bool:
    """A boolean; some clients send it as text. Raises ScimError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ScimError(400, "`active` is true or false.", "invalidValue")


def read_names(value: object) -> dict[str, str]:
    """The parts of a name. Raises ScimError."""
    given = {} if value is None else lowered(value)
    parts = {part: optional(given.get(part.lower()), f"name.{part}") for part in NAME_PARTS}
    return {part: text for part, text in parts.items() if text}


def read_emails(value: object) -> tuple[Email, ...]:
    """Addresses. Raises ScimError."""
    listed = _listed(value, "emails", MAX_EMAILS)
    emails = []
    for item in listed:
        given = lowered({"value": item} if isinstance(item, str) else item)
        text = optional(given.get("value"), "emails.value")
        kind = optional(given.get("type"), "emails.type") or ""
        if text:
            emails.append(Email(text, kind, read_primary(given.get("primary"))))
    return tuple(emails)


def read_primary(value: object) -> bool | None:
    """Whether an address is the one that counts, None where that is not said."""
    return None if value is None else value in (True, "true", "True")


def read_members(value: object) -> frozenset[str]:
    """The ids of members. Raises ScimError."""
    listed = _listed(value, "members", MAX_MEMBERS)
    return frozenset(required(lowered(item), "value") for item in listed)


def required(given: Mapping[str, Any], name: str) -> str:
    """A text that must be there. Raises ScimError."""
    text = optional(given.get(name.lower()), name)
    if not text:
        raise ScimError(400, f"`{name}` is needed.", "invalidValue")
    return text


def optional(value: object, name: str) -> str | None:
    """A text of bounded length, None for nothing. Raises ScimError."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ScimError(400, f"`{name}` is a text of at most {MAX_TEXT} characters.", "invalidValue")
    return value.strip()


def _listed(value: object, name: str, most: int) -> list[Any]:
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    if len(listed) > most:
        raise ScimError(400, f"`{name}` has more than {most} values.", "tooMany")
    return listed
