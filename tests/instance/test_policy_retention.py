"""A pack's demand on retention: shown, and held beside what retention classes do; it changes none."""

from pathlib import Path

from sqlalchemy import insert

from command_line import command
from instance.tenancy_kit import BOSS, World
from regalia.instance import tenancy
from regalia.instance.policies import NewActivation, activate, decide
from regalia.instance.policy_retention import MOST_NAMED, told
from regalia.instance.tenancy import NewProject
from regalia.storage.schema.retention import retention_classes
from regalia.vault.retention import RetentionClass

PACK = """
schema: 1
name: short
version: "1.0"
title: Nothing is kept for long
retention: {days: 30, basis: "a test"}
rails: []
"""
WITHOUT = PACK.replace('retention: {days: 30, basis: "a test"}\n', "")


async def with_classes(world: World) -> None:
    with world.database.write() as connection:
        rows = [{"name": "month", "content_days": 30}, {"name": "year", "content_days": 365}]
        connection.execute(insert(retention_classes), [{**row, "changed": 1} for row in rows])


async def test_who_activates_a_pack_hears_where_contents_are_kept_for_longer(world: World) -> None:
    await with_classes(world)
    for name in ("month", "year"):
        await tenancy.create_project(world.at, BOSS, NewProject(name, retention=name))
    made = {one.name: one.id for one in tenancy.list_projects(world.at, BOSS)}
    (warning,) = (await activate(world.at, BOSS, NewActivation(PACK))).warnings
    assert "at most 30 days" in warning
    assert "`default` keeps them for ever, `year` keeps them for 365" in warning
    assert "month" not in warning
    assert (await activate(world.at, BOSS, NewActivation(PACK, made["month"]))).warnings == ()
    assert len((await activate(world.at, BOSS, NewActivation(PACK, made["year"]))).warnings) == 1
    assert (await activate(world.at, BOSS, NewActivation(WITHOUT))).warnings == ()
    assert world.at.tenants.projects[made["year"]].retention == "year", "a pack changes no class"


async def test_the_second_person_hears_it_too(world: World) -> None:
    world.at.approvals = 2
    asked = await activate(world.at, BOSS, NewActivation(PACK))
    assert len(asked.warnings) == 1
    other = await world.person("ola", tenancy.RoleAt("owner"))
    agreed = await decide(world.at, other, asked.id, approve=True)
    assert (agreed.state, agreed.warnings) == ("active", asked.warnings)


def test_a_warning_names_a_bounded_number_of_classes() -> None:
    (warning,) = told("p@1", 1, [RetentionClass(f"class-{n:03}", 2) for n in range(100)])
    assert warning.count("class-") == MOST_NAMED
    assert f"and {100 - MOST_NAMED} more" in warning
    assert told("p@1", 2, [RetentionClass("two", 2)]) == ()


def test_checking_a_pack_shows_its_demand(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(PACK)
    assert "at most 30 days" in command("policy", "check", str(file)).out
    assert command("policy", "check", str(file), "--json").json["retention_days"] == 30
    file.write_text(WITHOUT)
    assert "days" not in command("policy", "check", str(file)).out
