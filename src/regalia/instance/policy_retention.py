"""What a pack says of retention, held beside what is applied. A pack changes nothing of it: it is a demand.

How long contents are kept is set by retention classes, on record, by whoever may (docs/retention.md). So that
a pack's demand is not forgotten, whoever puts the pack in force is told where contents are kept for longer.
"""

import asyncio

from sqlalchemy import Connection

from regalia.instance.tenancy.tenancy import Tenancy
from regalia.ledger.retaining import read_rules
from regalia.policy.document import Pack
from regalia.policy.errors import PackError
from regalia.policy.reading import read_pack
from regalia.vault.retention import RetentionClass

MOST_NAMED = 10
"""How many classes a warning names."""


async def kept_longer(at: Tenancy, pack: Pack, project: str) -> tuple[str, ...]:
    """A warning where contents are kept for longer than the pack asks for, in a project or ("") anywhere."""
    if pack.retention is None:
        return ()
    every = tuple(at.tenants.projects.values())
    places = [one.id for one in every if one.archived is None and project in ("", one.id)]

    def classes(connection: Connection) -> list[RetentionClass]:
        rules = read_rules(connection)
        return [rules.of(place) for place in places]

    return told(pack.label, pack.retention.days, await at.read(classes))


async def kept_longer_than(at: Tenancy, document: bytes | None, project: str) -> tuple[str, ...]:
    """As `kept_longer`, of a document that was checked when it was asked for; None is no pack."""
    try:
        pack = await asyncio.to_thread(read_pack, document) if document is not None else None
    except PackError:  # an upgrade may have made it so; whoever puts it in force is told otherwise
        return ()
    return await kept_longer(at, pack, project) if pack is not None else ()


def told(label: str, days: int, classes: list[RetentionClass]) -> tuple[str, ...]:
    """The warning of a demand for so many days at most, given the classes of projects."""
    longer = {one.name: one for one in classes if one.content_days is None or one.content_days > days}
    if not longer:
        return ()
    named = [f"`{name}` {_kept(longer[name])}" for name in sorted(longer)[:MOST_NAMED]]
    others = f" and {len(longer) - MOST_NAMED} more" if len(longer) > MOST_NAMED else ""
    return (
        f"{label} asks that contents be kept for at most {days} days, which is not applied by itself: "
        f"retention class {', '.join(named)}{others}. See `regalia retention define`.",
    )


def _kept(one: RetentionClass) -> str:
    return "keeps them for ever" if one.content_days is None else f"keeps them for {one.content_days}"
