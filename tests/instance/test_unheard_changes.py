"""Changes whose commit nobody hears of: the log never says that something failed which was made."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from instance.tenancy_kit import BOSS, World, refused
from postgresql_relay import Relay, relayed
from regalia.instance import tenancy
from regalia.instance.metering import NewPrice
from regalia.instance.policies import NewActivation, activate
from regalia.instance.tenancy import NewKey
from regalia.instance.tenancy.operations import matched
from regalia.policy.store import ActivationStore
from regalia.storage import database as storage
from regalia.storage import open_database, upgrade

pytestmark = pytest.mark.needs("postgres")
RAIL = {"id": "a", "on": "input", "action": "flag"}
PACK = json.dumps({"schema": 1, "name": "own", "version": "1.0", "title": "Own", "rails": [RAIL]})
KEY = NewKey("kilimo", project="default", role="developer")
PRICE = NewPrice("kilimo", "KES", input="1")


@pytest.fixture
async def behind(postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["Behind"]:
    """An instance whose database is reached through a relay, and that relay."""
    url = postgresql()
    upgrade(open_database(url))
    monkeypatch.setattr(storage, "ANSWER_S", 0.3)
    with relayed(url) as (through, relay):
        database = open_database(through)
        world = World(database)
        await world.live.refresh()
        yield world, relay
        database.close()


Behind = tuple[World, Relay]


async def operate(world: World, method: str, path: str, body: object = None) -> Any:
    found = matched(method, path)
    assert found is not None
    return await found[0].run(world.at, BOSS, {}, body)


async def prices(world: World) -> list[str]:
    return [one["model"] for one in (await operate(world, "GET", "/v1/regalia/prices"))["data"]]


async def test_a_change_that_was_made_unheard_is_answered_and_not_said_to_have_failed(behind: Behind) -> None:
    world, relay = behind
    relay.lose("kilimo")
    made = await tenancy.create_key(world.at, BOSS, KEY)
    assert relay.lost
    assert world.of_key(made.secret).key_id == made.key.id
    relay.lose("kilimo")
    await operate(world, "POST", "/v1/regalia/prices", PRICE)
    assert relay.lost
    assert await prices(world) == ["kilimo"]
    relay.lose("own@1.0")
    await activate(world.at, BOSS, NewActivation(PACK))
    assert relay.lost
    assert [one.state for one in ActivationStore(world.database).all()] == ["active"]
    assert [kind for kind in world.kinds() if "failed" in kind] == []


async def test_a_change_that_may_have_been_made_is_not_said_to_have_failed(behind: Behind) -> None:
    world, relay = behind
    for attempt, naming in (
        (tenancy.create_key(world.at, BOSS, KEY), "kilimo"),
        (operate(world, "POST", "/v1/regalia/prices", PRICE), "kilimo"),
        (activate(world.at, BOSS, NewActivation(PACK)), "own@1.0"),
    ):
        await prices(world)  # so that there is a connection
        relay.lose(naming)
        relay.close()  # and nobody can ask on another one
        assert await refused(attempt) == (503, "outcome_unknown")
        assert relay.lost
        relay.open()
    assert world.kinds() == ["admin.key_created", "admin.price_set", "policy.activated"]
    assert await prices(world) == ["kilimo"]


async def test_a_change_that_was_not_made_is_said_to_have_failed(behind: Behind) -> None:
    world, relay = behind
    relay.lose("kilimo", "before")
    assert await refused(tenancy.create_key(world.at, BOSS, KEY)) == (503, "database_unavailable")
    assert world.kinds() == ["admin.key_created", "admin.change_failed"]


async def test_a_change_is_answered_although_it_can_not_be_read_back_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, left = world.live.refresh, [2]

    async def refresh() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OperationalError("SELECT", {}, Exception("the database has just gone"))
        await honest()

    monkeypatch.setattr(world.live, "refresh", refresh)
    made = await tenancy.create_key(world.at, BOSS, KEY)
    assert world.of_key(made.secret).key_id == made.key.id
    assert world.kinds() == ["admin.key_created"]
