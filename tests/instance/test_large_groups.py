"""Very large SCIM groups: kept, changed and bounded, on a database that takes few values in a statement."""

import json

import pytest
from sqlalchemy import insert

from instance.tenancy_kit import World
from regalia.config import GroupRole, IdentityProvider
from regalia.identity.scim.errors import ScimError
from regalia.identity.scim.patch import patch_group, read_patch
from regalia.identity.scim.query import Query
from regalia.identity.scim.resources import MAX_MEMBERS, Group, read_group
from regalia.instance.signin.scim import Kept, Provisioning
from regalia.storage.schema.signin import scim_users
from regalia.storage.schema.tenancy import users

PROVIDER = IdentityProvider(
    "beta",
    "https://login.example",
    "client",
    group_roles={"judges": GroupRole("developer", "default", "default")},
)
COUNT = 40_000


async def peopled(world: World, count: int) -> list[str]:
    """So many people of the provider; their ids."""
    idents = [f"user_{number:05}" for number in range(count)]
    document = b'{"display_name":"","names":{},"emails":[]}'
    with world.database.write() as connection:
        about = {"organisation": "default", "created": 1, "changed": 100}
        rows = [{"id": one, "name": one, "email": f"{one}@x.example", **about} for one in idents]
        connection.execute(insert(users), rows)
        kept = {"provider": "beta", "active": 1, "document": document, "created": 1, "modified": 1}
        listed = [{"id": one, "user_name": one, "user_name_key": one, **kept} for one in idents]
        connection.execute(insert(scim_users), listed)
        connection.exec_driver_sql("UPDATE identity_state SET generation = 100")
    await world.live.refresh()
    return idents


def members(kept: Kept) -> frozenset[str]:
    assert isinstance(kept.resource, Group)
    return kept.resource.members


async def test_a_group_of_forty_thousand_is_made_changed_listed_and_removed(world: World) -> None:
    idents = await peopled(world, COUNT)
    at = Provisioning(world.at, PROVIDER)
    made = await at.add_group(Group("everybody", None, frozenset(idents)))
    assert members(made) == frozenset(idents)
    smaller = await at.change_group(made.id, Group("everybody", None, frozenset(idents[1:])))
    assert len(members(smaller)) == COUNT - 1
    total, page = await at.groups(Query())
    assert (total, [len(members(one)) for one in page]) == (1, [COUNT - 1])
    await at.remove_group(made.id)
    assert (await at.groups(Query()))[0] == 0


async def test_who_is_in_a_mapped_group_has_its_role_and_who_left_has_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.instance.signin.scim.CHUNK", 2)
    idents = await peopled(world, 5)
    at = Provisioning(world.at, PROVIDER)
    made = await at.add_group(Group("judges", None, frozenset(idents)))
    await at.add_group(Group("readers", None, frozenset(idents)))
    assert all(len(world.at.tenants.held_of(one)) == 1 for one in idents)
    with pytest.raises(ScimError, match="no user 'user_x'") as raised:
        await at.change_group(made.id, Group("judges", None, frozenset([*idents[:-1], "user_x"])))
    assert raised.value.status == 400
    await at.change_group(made.id, Group("judges", None, frozenset(idents[3:])))
    assert [len(world.at.tenants.held_of(one)) for one in idents] == [0, 0, 0, 1, 1]


async def test_a_page_of_groups_ends_where_their_members_become_too_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.instance.signin.scim.MAX_MEMBERS", 5)
    idents = await peopled(world, 4)
    at = Provisioning(world.at, PROVIDER)
    for name in ("a", "b", "c"):
        await at.add_group(Group(name, None, frozenset(idents)))
    lengths = []
    start = 1
    while start <= 3:
        total, page = await at.groups(Query(start=start))
        lengths.append((total, len(page)))
        start += len(page)
    assert lengths == [(3, 1), (3, 1), (3, 1)]


def test_a_group_beyond_the_bound_is_refused_in_scims_own_shape() -> None:
    document = {"displayName": "all", "members": [{"value": f"u{n}"} for n in range(MAX_MEMBERS + 1)]}
    with pytest.raises(ScimError) as raised:
        read_group(document)
    assert json.dumps(raised.value.document()).count("tooMany") == 1
    full = read_group({**document, "members": document["members"][1:]})
    one_more = read_patch({"Operations": [{"op": "add", "path": "members", "value": [{"value": "u0"}]}]})
    with pytest.raises(ScimError, match=str(MAX_MEMBERS)) as raised:
        patch_group(full, one_more)
    assert (raised.value.status, raised.value.kind) == (400, "tooMany")
