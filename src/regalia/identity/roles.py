"""Roles with separated duties: the one table of who may do what, and the question that code asks of it.

`MATRIX` is what `regalia roles` prints, docs/roles.md explains and the tests try cell by cell. A role is
held somewhere (`Held`): in a project, in an organisation and all its projects, or in the whole instance.
Outside of that it permits nothing, and what lies there is "not found" rather than "not permitted".
"""

from collections.abc import Iterable

import msgspec

from regalia.errors import ApiError
from regalia.identity.principal import Held, Principal


class Role(msgspec.Struct, frozen=True):
    """A role as an auditor reads of it."""

    name: str
    title: str
    purpose: str


class Permission(msgspec.Struct, frozen=True):
    """Something that may be permitted, and to which roles."""

    name: str
    meaning: str
    roles: frozenset[str]


OWNER = "owner"
OPERATOR = "platform-operator"
PROJECT_ADMIN = "project-admin"
DEVELOPER = "developer"
MEMBER = "member"
REVIEWER = "reviewer"
AUDITOR = "auditor"
DPO = "data-protection-officer"

ROLES = (
    Role(OWNER, "Owner", "answers for an organisation: its projects, its people, who has which role"),
    Role(OPERATOR, "Platform operator", "runs the system: models, engines, its health; sees no content"),
    Role(PROJECT_ADMIN, "Project admin", "runs a project: its keys, its members, its budgets"),
    Role(DEVELOPER, "Developer", "builds on the API with the project's keys"),
    Role(MEMBER, "Member", "uses the models, with a key of their own or by signing in"),
    Role(REVIEWER, "Reviewer", "decides on the calls that a policy holds for review"),
    Role(AUDITOR, "Auditor", "checks records and metadata; reads content only if a second person grants it"),
    Role(DPO, "Data-protection officer", "grants, places holds, erases: decides what happens to content"),
)
_ALL = frozenset(role.name for role in ROLES)


def _row(name: str, meaning: str, *roles: str) -> Permission:
    return Permission(name, meaning, frozenset(roles))


MATRIX = (
    _row("call.make", "ask the models", OWNER, PROJECT_ADMIN, DEVELOPER, MEMBER),
    _row("models.read", "list the models that answer", *_ALL),
    _row(
        "receipts.read",
        "fetch receipts of the own project's calls",
        OWNER, PROJECT_ADMIN, DEVELOPER, MEMBER,
    ),
    _row("organisations.manage", "create and archive organisations (in the whole instance)", OWNER),
    _row("organisations.read", "see the organisation", *_ALL),
    _row("projects.manage", "create, change and archive projects", OWNER),
    _row("projects.read", "see a project's settings", *_ALL),
    _row("members.manage", "add people, give and take roles", OWNER, PROJECT_ADMIN),
    _row("members.read", "see people and their roles", OWNER, PROJECT_ADMIN, AUDITOR, DPO),
    _row("keys.manage", "create, rotate and revoke API keys", OWNER, PROJECT_ADMIN),
    _row("keys.read", "list API keys (never their text)", OWNER, PROJECT_ADMIN, DEVELOPER, AUDITOR),
    _row("signin.manage", "set up identity providers, local accounts, SCIM", OWNER),
    _row("budgets.manage", "set budgets and limits", OWNER, PROJECT_ADMIN),
    _row("prices.manage", "set the prices of models (in the whole instance)", OWNER),
    _row("usage.read", "read usage and cost", OWNER, OPERATOR, PROJECT_ADMIN, DEVELOPER, AUDITOR),
    _row("operations.read", "see engines, queues, the log's state", OWNER, OPERATOR, AUDITOR),
    _row("records.read", "read records, and whom they are about", OWNER, AUDITOR, DPO),
    _row("policies.read", "read policies", *_ALL),
    _row("policies.manage", "put policies in force", OWNER, DPO),
    _row("reviews.decide", "see and decide calls that are held for review", REVIEWER),
    _row("content.request", "ask to read a call's content for a stated purpose", AUDITOR, DPO),
    _row("content.grant", "grant or refuse what another person asked for", PROJECT_ADMIN, DPO),
    _row("content.read", "read content that a second person granted", AUDITOR, DPO),
    _row(
        "content.reads",
        "list who read content of the project, and why",
        OWNER, PROJECT_ADMIN, DEVELOPER, MEMBER, AUDITOR, DPO,
    ),
    _row("content.erase", "erase contents", OWNER, DPO),
    _row("retention.manage", "set retention classes, place and lift holds", OWNER, DPO),
)  # fmt: skip
PERMISSIONS = {permission.name: permission for permission in MATRIX}
_ROLES_OF = {permission.name: permission.roles for permission in MATRIX}

PERSONAL = frozenset({"content.request", "content.grant", "content.read", "reviews.decide"})
"""What only a person may do: a service key is nobody who could answer for it."""

GRANTABLE = {OWNER: _ALL, PROJECT_ADMIN: frozenset({DEVELOPER, MEMBER, REVIEWER})}
"""Which roles each role that manages members may give and take, where it holds itself."""

CONFLICTS = frozenset(
    {
        frozenset({OPERATOR, AUDITOR}),
        frozenset({OPERATOR, DPO}),
        frozenset({OPERATOR, REVIEWER}),
        frozenset({AUDITOR, OWNER}),
        frozenset({AUDITOR, PROJECT_ADMIN}),
    }
)
"""Duties that one person never holds together, wherever they hold."""


def allowed(roles: Iterable[str], permission: str) -> bool:
    """Whether any of the roles has the permission. KeyError for a permission that is not in the table."""
    return not _ROLES_OF[permission].isdisjoint(roles)


def require(principal: Principal, permission: str) -> None:
    """Raise ApiError 403 unless the principal has the permission in its own project."""
    if not allowed(principal.roles, permission) or (permission in PERSONAL and not principal.user):
        raise not_permitted(permission)


def permits(principal: Principal, permission: str, organisation: str, project: str = "") -> bool:
    """Whether it has the permission there; without `project`, in the whole organisation.

    Organisation "" asks for the whole instance.
    """
    if permission in PERSONAL and not principal.user:
        return False
    return allowed(roles_at(principal.held, organisation, project), permission)


def sees(principal: Principal, organisation: str, project: str = "") -> bool:
    """Whether the principal has any business there: otherwise it is told that nothing is there."""
    if project:
        return any(held.covers(organisation, project) for held in principal.held)
    return any(held.touches(organisation) for held in principal.held)


def require_at(principal: Principal, permission: str, organisation: str, project: str = "") -> None:
    """Raise ApiError 404 unless the principal sees the place, 403 unless it has the permission there."""
    if organisation and not sees(principal, organisation, project):
        kind = "project" if project else "organisation"  # which one stays unsaid: it may have been looked up
        raise ApiError(404, f"{kind}_not_found", f"There is no such {kind} of yours.", param=kind)
    if not permits(principal, permission, organisation, project):
        raise not_permitted(permission)


def roles_at(held: Iterable[Held], organisation: str, project: str = "") -> frozenset[str]:
    """The roles that are in force in a project, or, without one, in the whole organisation."""
    return frozenset(one.role for one in held if one.covers(organisation, project))


def not_permitted(permission: str) -> ApiError:
    """The error of who is known here but may not."""
    meaning = PERMISSIONS[permission].meaning
    return ApiError(403, "not_permitted", f"Your roles do not permit this here: {meaning} (`{permission}`).")


def not_found(kind: str, ident: str) -> ApiError:
    """The error of what is not there, or is nobody's business who asks."""
    return ApiError(404, f"{kind}_not_found", f"There is no {kind} `{ident[:80]}`.", param=kind)
