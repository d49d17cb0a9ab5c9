"""What can be done to organisations, projects, people, roles and keys from outside, once.

The API serves these operations and the `regalia` commands ask for them, from a server that runs or, where
none does, here in the process. An answer is plain data, ready for JSON.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Annotated, Any

import msgspec

from regalia.errors import ApiError
from regalia.identity import MATRIX, ROLES, Principal
from regalia.identity.tenants import User
from regalia.instance.tenancy import content, keys, people, places, pseudonyms
from regalia.instance.tenancy.paging import PAGE, USUAL, Asked, Paging, page
from regalia.instance.tenancy.tenancy import Tenancy

BASE = "/v1/regalia"
Run = Callable[[Tenancy, Principal, Asked, Any], Any]
"""What carries an operation out: it gets the parameters of path and query, and the body if there is one."""


class Operation(msgspec.Struct, frozen=True):
    """One operation. `paging` is how long its pages are, where it is a list."""

    method: str
    path: str
    summary: str
    tag: str
    run: Callable[[Tenancy, Principal, Asked, Any], Awaitable[object]]
    body: type[msgspec.Struct] | None = None
    query: tuple[str, ...] = ()
    paging: Paging | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


class NewOrganisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation to create."""

    name: places.Text


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old key stays valid."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=keys.LONGEST_OVERLAP_S)] = 3600


class NewContentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which call's content is to be read, and for what. The purpose goes on record: no personal data."""

    call: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    purpose: Annotated[str, msgspec.Meta(min_length=1, max_length=content.LONGEST_PURPOSE)]
    seconds: content.Seconds = content.DEFAULT_S


OPERATIONS: list[Operation] = []


def operation(
    method: str,
    path: str,
    summary: str,
    *,
    tag: str = "administration",
    body: type[msgspec.Struct] | None = None,
    query: tuple[str, ...] = (),
    base: str = BASE,
    paging: Paging = USUAL,
) -> Callable[[Run], None]:
    """Add an operation below `base`; decorates the function that runs it.

    A plain function runs in a thread (`Tenancy.scan`): it may look through much, and changes nothing.
    """

    def add(run: Run) -> None:
        carried_out = run if inspect.iscoroutinefunction(run) else _in_a_thread(run)
        pages = paging if "limit" in query else None
        OPERATIONS.append(Operation(method, base + path, summary, tag, carried_out, body, query, pages))

    return add


def _in_a_thread(run: Run) -> Callable[[Tenancy, Principal, Asked, Any], Awaitable[object]]:
    @wraps(run)
    async def carry_out(at: Tenancy, actor: Principal, asked: Asked, body: Any) -> object:
        return await at.scan(partial(run, at, actor, asked, body))

    return carry_out


def decoded(body: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A JSON body as its struct; an empty one is `{}`. Raises ApiError 400."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".") or None
        raise ApiError(
            400, "invalid_value", f"{what}{f' in `{field}`' if field else ''}.", param=field
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"The body is not valid JSON: {error}") from error


def matched(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation that a request is for, and the parameters in its path."""
    parts = path.split("/")
    best: tuple[Operation, dict[str, str]] | None = None
    for one in OPERATIONS:
        wanted = one.path.split("/")
        if one.method != method or len(wanted) != len(parts):
            continue
        pairs = list(zip(wanted, parts, strict=True))
        if all(want == part or want.startswith("{") for want, part in pairs):
            found = {want[1:-1]: part for want, part in pairs if want.startswith("{")}
            if best is None or len(found) < len(best[1]):
                best = one, found
    return best


@operation("GET", "/roles", "The matrix of roles and permissions")
async def _roles(_at: Tenancy, _actor: Principal, _asked: Asked, _body: None) -> object:
    return matrix()


def matrix() -> dict[str, Any]:
    """The roles, and for each permission the roles that have it: `regalia roles --json`."""
    names = [role.name for role in ROLES]
    return {
        "roles": ROLES,
        "permissions": [
            {"name": row.name, "meaning": row.meaning, "roles": [name for name in names if name in row.roles]}
            for row in MATRIX
        ],
    }


@operation("GET", "/me", "Who the key is, and what its roles are")
async def _me(_at: Tenancy, actor: Principal, _asked: Asked, _body: None) -> object:
    return {
        "key": actor.key_id,
        "user": actor.user or None,
        "organisation": actor.organisation or None,
        "project": actor.project or None,
        "roles": sorted(actor.roles),
        "held": actor.held,
    }


@operation("GET", "/organisations", "The organisations you have a role in", query=PAGE)
def _organisations(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(places.list_organisations(at, actor), asked)


@operation("POST", "/organisations", "Create an organisation", body=NewOrganisation)
async def _create_organisation(at: Tenancy, actor: Principal, _asked: Asked, body: NewOrganisation) -> object:
    return await places.create_organisation(at, actor, body.name)


@operation("GET", "/organisations/{organisation}", "One organisation")
async def _organisation(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return places.organisation(at, actor, asked["organisation"])


@operation("POST", "/organisations/{organisation}/archive", "End an organisation; its keys are refused")
async def _archive_organisation(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await places.archive_organisation(at, actor, asked["organisation"])


@operation("GET", "/projects", "The projects you have a role in", query=("organisation", *PAGE))
def _projects(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(places.list_projects(at, actor, asked.get("organisation", "")), asked)


@operation("POST", "/projects", "Create a project", body=places.NewProject)
async def _create_project(at: Tenancy, actor: Principal, _asked: Asked, body: places.NewProject) -> object:
    return await places.create_project(at, actor, body)


@operation("GET", "/projects/{project}", "One project")
async def _project(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return places.project(at, actor, asked["project"])


@operation("PATCH", "/projects/{project}", "Change a project's settings", body=places.ProjectChange)
async def _change_project(at: Tenancy, actor: Principal, asked: Asked, body: places.ProjectChange) -> object:
    return await places.change_project(at, actor, asked["project"], body)


@operation("POST", "/projects/{project}/archive", "End a project; its keys are refused")
async def _archive_project(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await places.archive_project(at, actor, asked["project"])


@operation("GET", "/users", "People", query=("organisation", *PAGE))
def _users(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(people.list_users(at, actor, asked.get("organisation", "")), asked)


@operation("POST", "/users", "Add a person", body=people.NewUser)
async def _add_user(at: Tenancy, actor: Principal, _asked: Asked, body: people.NewUser) -> object:
    return await people.add_user(at, actor, body)


@operation("GET", "/users/{user}", "One person")
async def _user(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> User:
    return people.user(at, actor, asked["user"])


@operation("POST", "/users/{user}/disable", "Lock a person out")
async def _disable_user(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> User:
    return await people.disable_user(at, actor, asked["user"])


@operation("POST", "/users/{user}/enable", "Let a person in again")
async def _enable_user(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> User:
    return await people.disable_user(at, actor, asked["user"], disabled=False)


@operation("GET", "/users/{user}/roles", "A person's roles", query=PAGE)
def _roles_of(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(people.roles_of(at, actor, asked["user"]), asked)


@operation("POST", "/users/{user}/roles", "Give a person a role", body=people.RoleAt)
async def _give_role(at: Tenancy, actor: Principal, asked: Asked, body: people.RoleAt) -> object:
    return await people.give_role(at, actor, asked["user"], body)


@operation("POST", "/users/{user}/roles/take", "Take a role from a person", body=people.RoleAt)
async def _take_role(at: Tenancy, actor: Principal, asked: Asked, body: people.RoleAt) -> object:
    return await people.take_role(at, actor, asked["user"], body)


@operation("GET", "/keys", "API keys, without their text", query=("project", *PAGE))
def _keys(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(keys.list_keys(at, actor, asked.get("project", "")), asked)


@operation("POST", "/keys", "Create an API key; its text is shown now and never again", body=keys.NewKey)
async def _create_key(at: Tenancy, actor: Principal, _asked: Asked, body: keys.NewKey) -> object:
    return await keys.create_key(at, actor, body)


@operation("GET", "/keys/{key}", "One API key, without its text")
async def _key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return keys.key(at, actor, asked["key"])


@operation("POST", "/keys/{key}/rotate", "Replace an API key; the old one ends after a while", body=Rotation)
async def _rotate_key(at: Tenancy, actor: Principal, asked: Asked, body: Rotation) -> object:
    return await keys.rotate_key(at, actor, asked["key"], body.overlap_seconds)


@operation("POST", "/keys/{key}/revoke", "End an API key, everywhere within a second")
async def _revoke_key(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await keys.revoke_key(at, actor, asked["key"])


@operation("GET", "/pseudonyms/{pseudonym}", "Whom a pseudonym in the log stands for", query=("before",))
def _pseudonym(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return pseudonyms.named(at, actor, asked["pseudonym"], asked.get("before", ""))


@operation("GET", "/content/requests", "Who asked to read content", tag="content", query=("project", *PAGE))
async def _requests(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await content.list_requests(at, actor, asked.get("project", ""), asked)


@operation("POST", "/content/requests", "Ask to read a call's content", tag="content", body=NewContentRequest)
async def _request(at: Tenancy, actor: Principal, _asked: Asked, body: NewContentRequest) -> object:
    return await content.request_content(at, actor, body.call, body.purpose, body.seconds)


@operation("POST", "/content/requests/{request}/grant", "Grant what another person asked for", tag="content")
async def _grant(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await content.decide_request(at, actor, asked["request"], grant=True)


@operation(
    "POST", "/content/requests/{request}/refuse", "Refuse what another person asked for", tag="content"
)
async def _refuse(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await content.decide_request(at, actor, asked["request"], grant=False)


@operation(
    "GET", "/content/reads", "Who has read a project's content", tag="content", query=("project", *PAGE)
)
async def _reads(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await content.list_reads(at, actor, asked.get("project") or actor.project, asked)


@operation("GET", "/content/{call}", "Read a call's content, once that is granted", tag="content")
async def _read(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    said = await content.read_content(at, actor, asked["call"])
    return {
        "call": said.call,
        "record": said.record,
        "until": said.until,
        "content": [{"part": part.name, **_readable(part.data)} for part in said.parts],
    }


def _readable(data: bytes) -> dict[str, object]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": data}
