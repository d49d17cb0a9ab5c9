"""Reading what was said in a call: asked for with a purpose, granted by a second person, for some minutes.

Every reading is a `content.read` record that is durable before a byte is handed out, and the call's project
can list its readings. Who tries without a grant is refused on record, too (`admin.content_denied`). Nobody
grants what they asked for; nor does whoever issued the other one's key, since they could act as both.
"""

from functools import partial
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection, Row, Select, insert, select, update

from regalia.errors import ApiError
from regalia.identity import Principal, permits, require_at, sees
from regalia.identity.live import as_struct
from regalia.identity.roles import not_found, not_permitted
from regalia.instance.tenancy.hands import hands_of, not_independent, refuse_same_hands
from regalia.instance.tenancy.paging import ALL, Asked, page_of_rows
from regalia.instance.tenancy.places import project
from regalia.instance.tenancy.tenancy import Tenancy, bounded, changed_meanwhile
from regalia.ledger import CallOpen, Part, ReceiptNotFound
from regalia.storage.schema import calls
from regalia.storage.schema.tenancy import content_reads, content_requests

DEFAULT_S = 600
LONGEST_S = 86_400
LONGEST_PURPOSE = 500

Seconds = Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)]


class ContentRequest(msgspec.Struct, frozen=True):
    """Somebody asks to read a call's content. Times in milliseconds; actors as `user:ID`.

    `granted` is None until it is decided. A grant is good until `until`, for the requester alone.
    """

    id: str
    call: str
    organisation: str
    project: str
    requester: str
    purpose: str
    seconds: int
    created: int
    decided: int | None = None
    decider: str | None = None
    granted: int | None = None
    until: int | None = None


class ContentRead(msgspec.Struct, frozen=True):
    """One reading, and the index of its record in the log."""

    id: str
    request: str
    call: str
    project: str
    reader: str
    purpose: str
    record: int
    time: int


class Said(msgspec.Struct, frozen=True):
    """A call's content: the exact bytes, and the reading's place in the log."""

    call: str
    record: int
    until: int
    parts: tuple[Part, ...]


async def request_content(
    at: Tenancy, actor: Principal, call: str, purpose: str, seconds: int = DEFAULT_S
) -> ContentRequest:
    """Ask to read a call's content. The purpose goes on record: no personal data. Raises ApiError."""
    purpose = bounded("purpose", purpose, LONGEST_PURPOSE)
    if not 1 <= seconds <= LONGEST_S:
        raise ApiError(400, "invalid_value", f"`seconds` is 1 to {LONGEST_S}.", param="seconds")
    organisation, home = await _place_of(at, actor, call)
    await _require(at, actor, "content.request", call, organisation, home)
    made = ContentRequest(
        at.new_id("creq"), call, organisation, home, actor.actor, purpose, seconds, at.clock()
    )

    def write(connection: Connection, _generation: int) -> None:
        connection.execute(insert(content_requests).values(msgspec.structs.asdict(made)))

    about: dict[str, str | int] = {"request": made.id, "call": call, "purpose": purpose, "seconds": seconds}
    about |= at.place("", home)
    await at.change("content_requested", actor, about, write)
    return made


async def decide_request(at: Tenancy, actor: Principal, ident: str, *, grant: bool) -> ContentRequest:
    """Grant or refuse what another person asked for. The time runs from now. Raises ApiError."""
    found = await _request(at, actor, ident)
    require_at(actor, "content.grant", found.organisation, found.project)
    _refuse_same_hands(at, actor, found)
    if found.granted is not None:
        raise ApiError(409, "decided_already", "This request is decided already.")
    now = at.clock()
    until = now + found.seconds * 1000 if grant else None
    decided = msgspec.structs.replace(
        found, decided=now, decider=actor.actor, granted=int(grant), until=until
    )

    def write(connection: Connection, _generation: int) -> None:
        open_one = (content_requests.c.id == ident) & content_requests.c.granted.is_(None)
        values = {"decided": now, "decider": actor.actor, "granted": int(grant), "until": until}
        if connection.execute(update(content_requests).where(open_one).values(values)).rowcount != 1:
            raise changed_meanwhile()

    about: dict[str, str | int] = {"request": ident, "call": found.call, "subject": at.who(found.requester)}
    if until is not None:
        about["until"] = until
    about |= at.place("", found.project)
    await at.change("content_granted" if grant else "content_refused", actor, about, write)
    return decided


async def read_content(at: Tenancy, actor: Principal, call: str) -> Said:
    """A call's content, for who was granted it and as long as that lasts, on record. Raises ApiError.

    403 `content_not_granted` where there is no grant that is still good; 410 where it was erased.
    """
    organisation, home = await _place_of(at, actor, call)
    await _require(at, actor, "content.read", call, organisation, home)
    if at.reveal is None:
        raise ApiError(503, "server_needed", "Content is read through the server: start it.")
    found = await _select(
        at,
        select(content_requests)
        .where(content_requests.c.call == call, content_requests.c.requester == actor.actor)
        .where(content_requests.c.granted == 1, content_requests.c.until > at.clock())
        .order_by(content_requests.c.until.desc())
        .limit(1),
    )
    if not found:
        await _note_denial(at, actor, call, home)
        raise ApiError(
            403,
            "content_not_granted",
            "Nobody has granted you to read this, or the time is over: ask for it with a purpose "
            "(`regalia content read CALL --purpose …`), and have a second person grant it.",
        )
    grant = as_struct(ContentRequest, found[0])
    if grant.decider in hands_of(
        at, actor.actor, grant.created, actor.issuer
    ):  # who granted it may be reading
        await _note_denial(at, actor, call, home)
        raise not_independent()
    try:
        parts = await at.reveal(call)
    except (ReceiptNotFound, CallOpen) as error:
        raise ApiError(409, "call_open", "The call has no outcome yet.", retry_after=1) from error
    if not parts:
        raise ApiError(410, "content_erased", "The content was erased; the call's receipt proves it.")
    record = await at.note(
        "content.read", actor, request=grant.id, call=call, purpose=grant.purpose, **at.place("", home)
    )
    read = ContentRead(
        at.new_id("read"), grant.id, call, home, actor.actor, grant.purpose, record, at.clock()
    )

    def write(connection: Connection) -> None:
        connection.execute(insert(content_reads).values(msgspec.structs.asdict(read)))

    await at.write(write)
    return Said(call, record, grant.until or 0, parts)


async def list_requests(
    at: Tenancy, actor: Principal, within: str = "", asked: Asked = ALL
) -> dict[str, Any]:
    """A page of the requests that the actor made, may decide or may know of, the newest first.

    Of one project if it is named. Raises ApiError 400, 404.
    """
    query = select(content_requests)
    if within:
        project(at, actor, within)
        query = query.where(content_requests.c.project == within)
    own = {held.organisation for held in actor.held}
    if "" not in own:  # what is others' need not be looked at
        home = content_requests.c.organisation.in_(sorted(own))
        query = query.where(home | (content_requests.c.requester == actor.actor))

    def shown(row: Row[Any]) -> ContentRequest | None:
        found = as_struct(ContentRequest, row)
        return found if _concerns(actor, found) else None

    def run() -> dict[str, Any]:
        order = content_requests.c.created, content_requests.c.id
        with at.database.read() as connection:
            return page_of_rows(connection, query, order, asked, shown, newest=True)

    return await at.scan(run)


async def list_reads(at: Tenancy, actor: Principal, within: str, asked: Asked = ALL) -> dict[str, Any]:
    """A page of who has read content of a project, the newest first. Raises ApiError 400, 403, 404."""
    home = project(at, actor, within)
    require_at(actor, "content.reads", home.organisation, home.id)
    query = select(content_reads).where(content_reads.c.project == within)

    def run() -> dict[str, Any]:
        shown = partial(as_struct, ContentRead)
        with at.database.read() as connection:
            order = content_reads.c.time, content_reads.c.id
            return page_of_rows(connection, query, order, asked, shown, newest=True)

    return await at.scan(run)


async def place_of_call(at: Tenancy, call: str) -> tuple[str, str] | None:
    """The organisation and project of a call, None where there is no such call."""
    rows = await _select(at, select(calls.c.project).where(calls.c.call == call))
    home = at.tenants.projects.get(rows[0].project) if rows else None
    return (home.organisation, home.id) if home else None


async def _place_of(at: Tenancy, actor: Principal, call: str) -> tuple[str, str]:
    place = await place_of_call(at, call)
    if place is None or not sees(actor, *place):
        raise not_found("call", call)
    return place


async def _require(
    at: Tenancy, actor: Principal, permission: str, call: str, organisation: str, home: str
) -> None:
    """Raise ApiError 403, on record, unless the actor has the permission there."""
    if not permits(actor, permission, organisation, home):
        await _note_denial(at, actor, call, home)
        raise not_permitted(permission)


async def _note_denial(at: Tenancy, actor: Principal, call: str, home: str) -> None:
    await at.note("admin.content_denied", actor, call=call, **at.place("", home))


async def _request(at: Tenancy, actor: Principal, ident: str) -> ContentRequest:
    rows = await _select(at, select(content_requests).where(content_requests.c.id == ident))
    if not rows or not sees(actor, rows[0].organisation, rows[0].project):
        raise not_found("request", ident)
    return as_struct(ContentRequest, rows[0])


def _refuse_same_hands(at: Tenancy, actor: Principal, found: ContentRequest) -> None:
    """Raise ApiError unless requester and decider are two people, neither of whom holds the other's key."""
    if not actor.user:
        raise not_permitted("content.grant")
    if found.requester == actor.actor:
        raise ApiError(403, "not_oneself", "Nobody grants what they asked for: ask a second person.")
    refuse_same_hands(at, actor, found.requester, found.created)


def _concerns(actor: Principal, found: ContentRequest) -> bool:
    place = found.organisation, found.project
    return actor.actor == found.requester or any(
        permits(actor, permission, *place) for permission in ("content.grant", "content.reads")
    )


async def _select(at: Tenancy, query: Select[Any]) -> list[Row[Any]]:
    return await at.read(lambda connection: list(connection.execute(query)))
