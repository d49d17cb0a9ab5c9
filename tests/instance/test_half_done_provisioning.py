"""Provisioning that is cut short between two of its records: what is asked for again is finished."""

import json
from collections.abc import Awaitable, Callable

import pytest

from instance.tenancy_kit import World
from regalia.config import GroupRole, IdentityProvider
from regalia.errors import AuditUnavailable
from regalia.identity.scim.errors import ScimError
from regalia.identity.scim.resources import Email, Group, User
from regalia.instance.signin.scim import Provisioning

ROLE = GroupRole("developer", "default", "default")
PROVIDER = IdentityProvider("beta", "https://login.example", "client", group_roles={"judges": ROLE})
NAMES = ("amina", "brian", "chen")


def person(name: str, active: bool = True) -> User:
    email = Email(f"{name}@health.example", primary=True)
    return User(f"{name}@health.example", name, active, name, {}, (email,))


class Cut:
    """The log refuses the nth record from now on, once."""

    def __init__(self, world: World, n: int) -> None:
        self.left = n
        honest = world.append

        async def append(record: bytes) -> int:
            self.left -= 1
            if self.left == 0:
                raise AuditUnavailable(f"not {json.loads(record)['kind']}")
            return await honest(record)

        world.at._append = append


async def insisted(attempt: Callable[[], Awaitable[object]], gone: bool = False) -> None:
    """Ask twice, as clients do after a 503. What is gone by then was done."""
    try:
        await attempt()
    except AuditUnavailable:
        try:
            await attempt()
        except ScimError as error:
            assert gone
            assert error.status == 404


class House:
    """Three people, of whom two are judges, as a provisioning client has made them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.at = Provisioning(world.at, PROVIDER)
        self.idents: list[str] = []
        self.group = ""

    async def build(self) -> None:
        self.idents = [(await self.at.add_user(person(name))).id for name in NAMES]
        made = await self.at.add_group(Group("judges", None, frozenset(self.idents[:2])))
        self.group = made.id
        assert self.judges() == self.idents[:2]

    def judges(self) -> list[str]:
        """Who has the role."""
        return [one for one in self.idents if self.world.at.tenants.held_of(one)]

    async def members(self) -> frozenset[str]:
        """Who is in the group."""
        try:
            found = (await self.at.group(self.group)).resource
        except ScimError:
            return frozenset()
        assert isinstance(found, Group)
        return found.members if found.display_name == "judges" else frozenset()


@pytest.mark.parametrize("n", range(1, 6))
@pytest.mark.parametrize("what", ["exchange", "rename", "remove"])
async def test_whoever_leaves_a_group_loses_its_role_wherever_the_change_was_cut(
    world: World, what: str, n: int
) -> None:
    house = House(world)
    await house.build()
    others = Group("judges", None, frozenset(house.idents[1:]))
    renamed = Group("retired", None, frozenset(house.idents[:2]))
    ways: dict[str, tuple[Callable[[], Awaitable[object]], list[str]]] = {
        "exchange": (lambda: house.at.change_group(house.group, others), house.idents[1:]),
        "rename": (lambda: house.at.change_group(house.group, renamed), []),
        "remove": (lambda: house.at.remove_group(house.group), []),
    }
    attempt, after = ways[what]
    cut = Cut(world, n)
    try:
        await attempt()
    except AuditUnavailable:
        assert set(house.judges()) <= await house.members(), "a role outlives its group"
    if cut.left == 0:
        await insisted(attempt)
    assert house.judges() == after


@pytest.mark.parametrize("n", range(1, 4))
async def test_whoever_comes_is_one_person_wherever_that_was_cut(world: World, n: int) -> None:
    house = House(world)
    Cut(world, n)
    await insisted(lambda: house.at.add_user(person("amina")))
    assert len(world.at.tenants.users) == 1


@pytest.mark.parametrize("n", [1, 2])
async def test_whoever_was_removed_comes_back_without_a_role(world: World, n: int) -> None:
    house = House(world)
    await house.build()
    await world.at.live.refresh()
    (amina, *_) = house.idents
    link(world, amina, "amina")
    Cut(world, n)
    await insisted(lambda: house.at.remove_user(amina), gone=True)
    again = await house.at.add_user(person("amina"))
    assert again.id == amina
    assert amina not in house.judges()


def link(world: World, ident: str, subject: str) -> None:
    """As if they had signed in."""
    with world.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO identities (issuer, subject, user, created, groups_of) VALUES (?, ?, ?, 1, 0)",
            (PROVIDER.issuer, subject, ident),
        )
