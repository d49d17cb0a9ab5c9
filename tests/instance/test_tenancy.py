"""Organisations, projects, people, roles and keys: recorded first, then made, and by nobody who may not."""

import asyncio

import msgspec
import pytest
from sqlalchemy.exc import SQLAlchemyError

from instance.tenancy_kit import BOSS, SECRET, World, at, refused
from regalia.errors import ApiError, AuditUnavailable
from regalia.identity import Held, KeyRing
from regalia.identity.keys import STALE_S
from regalia.identity.live import LiveTenants
from regalia.identity.roles import CONFLICTS
from regalia.instance import tenancy
from regalia.instance.tenancy import NewKey, NewProject, NewUser, ProjectChange, RoleAt
from regalia.instance.tenancy.pseudonyms import named
from regalia_verify.record import canonical, parse


async def test_an_instance_begins_with_one_organisation_and_one_project(world: World) -> None:
    assert [one.id for one in tenancy.list_organisations(world.at, BOSS)] == ["default"]
    (project,) = tenancy.list_projects(world.at, BOSS)
    assert (project.id, project.organisation, project.retention) == ("default", "default", "default")


async def test_everything_is_on_record_as_pseudonyms_only(any_world: World) -> None:
    world = any_world
    org = await tenancy.create_organisation(world.at, BOSS, "Ministry of Health")
    project = await tenancy.create_project(
        world.at, BOSS, NewProject("triage", org.id, ceiling="official", jurisdiction="KE", models=("m",))
    )
    amina = await world.person("amina", at("auditor", org.id), organisation=org.id)
    made = await tenancy.create_key(world.at, BOSS, NewKey("app", project=project.id))
    await tenancy.rotate_key(world.at, BOSS, made.key.id)
    await tenancy.revoke_key(world.at, BOSS, made.key.id)
    await tenancy.take_role(world.at, BOSS, amina.user, at("auditor", org.id))
    await tenancy.change_project(world.at, BOSS, project.id, ProjectChange(ceiling="secret", models=()))
    await tenancy.archive_project(world.at, BOSS, project.id)
    await tenancy.archive_organisation(world.at, BOSS, org.id)
    assert world.kinds() == [
        "admin.organisation_created",
        "admin.project_created",
        "admin.user_added",
        "admin.role_given",
        "admin.key_created",
        "admin.key_rotated",
        "admin.key_revoked",
        "admin.role_taken",
        "admin.project_changed",
        "admin.project_archived",
        "admin.organisation_archived",
    ]
    written = b"".join(canonical(record) for record in world.log)
    for record in world.log:
        parse(canonical(record))
        assert record["by"] == world.at.who("os:root")
    for secret in ("Ministry", "triage", "amina", org.id, project.id, amina.user, made.key.id, made.secret):
        assert secret.encode() not in written
    assert tenancy.project(world.at, BOSS, project.id).models is None


async def test_nothing_happens_that_can_not_be_recorded(world: World) -> None:
    made = await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))
    world.down = True
    for attempt in (
        tenancy.create_organisation(world.at, BOSS, "Unseen"),
        tenancy.create_project(world.at, BOSS, NewProject("unseen")),
        tenancy.add_user(world.at, BOSS, NewUser("Unseen", "u@x.example")),
        tenancy.create_key(world.at, BOSS, NewKey("unseen", project="default")),
        tenancy.revoke_key(world.at, BOSS, made.key.id),
    ):
        with pytest.raises(AuditUnavailable):
            await attempt
    world.down = False
    await world.live.refresh()
    assert len(world.at.tenants.organisations) == len(world.at.tenants.projects) == 1
    assert not world.at.tenants.users
    assert list(world.at.tenants.keys) == [made.key.id]
    assert world.of_key(made.secret).key_id == made.key.id


async def test_a_change_that_fails_after_its_record_says_so(any_world: World) -> None:
    world = any_world
    await tenancy.create_organisation(world.at, BOSS, "Twice")
    del world.at.tenants.organisations[next(reversed(world.at.tenants.organisations))]  # as if not yet seen
    assert await refused(tenancy.create_organisation(world.at, BOSS, "Twice")) == (409, "exists_already")
    created, failed = world.log[-2:]
    assert (created["kind"], failed["kind"]) == ("admin.organisation_created", "admin.change_failed")
    assert created["change"] == failed["change"]


async def test_another_process_sees_a_change_and_reads_only_what_is_new(any_world: World) -> None:
    world = any_world
    other = World(world.database)
    await other.live.refresh()
    made = await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))
    with pytest.raises(ApiError):
        other.of_key(made.secret)
    await other.live.refresh()
    assert other.of_key(made.secret).project == "default"
    await tenancy.revoke_key(world.at, BOSS, made.key.id)
    await other.live.refresh()
    with pytest.raises(ApiError):
        other.of_key(made.secret)
    assert other.at.tenants.generation == world.at.tenants.generation


async def test_a_rotated_key_and_its_successor_work_until_the_overlap_ends(world: World) -> None:
    old = await tenancy.create_key(world.at, BOSS, NewKey("app", project="default", networks=("10.0.0.0/8",)))
    new = await tenancy.rotate_key(world.at, BOSS, old.key.id, overlap_s=60)
    assert (new.key.project, new.key.networks) == (old.key.project, old.key.networks)
    ring = world.live.ring
    for secret in (old.secret, new.secret):
        ring.principal(b"Bearer " + secret.encode(), "10.0.0.1")
    world.now += 60_000
    ring.principal(b"Bearer " + new.secret.encode(), "10.0.0.1")
    with pytest.raises(ApiError, match="expired"):
        ring.principal(b"Bearer " + old.secret.encode(), "10.0.0.1")
    assert await refused(tenancy.rotate_key(world.at, BOSS, old.key.id)) == (409, "key_ended")


async def test_nobody_changes_their_own_roles(world: World) -> None:
    owner = await world.person("olu", at("owner"))
    assert await refused(tenancy.give_role(world.at, owner, owner.user, at("member"))) == (403, "not_oneself")
    assert await refused(tenancy.disable_user(world.at, owner, owner.user)) == (403, "not_oneself")


async def test_duties_that_conflict_are_not_joined_wherever_they_hold(world: World) -> None:
    operator = await world.person("ola", RoleAt("platform-operator"))
    for role in ("auditor", "data-protection-officer", "reviewer"):
        attempt = tenancy.give_role(world.at, BOSS, operator.user, at(role))
        assert await refused(attempt) == (409, "duties_conflict")
    auditor = await world.person("aud", at("auditor"))
    for wanted in (at("owner"), at("project-admin", project="default"), RoleAt("platform-operator")):
        attempt = tenancy.give_role(world.at, BOSS, auditor.user, wanted)
        assert await refused(attempt) == (409, "duties_conflict")


async def test_conflicting_duties_are_not_joined_by_giving_both_at_once(any_world: World) -> None:
    person = await any_world.person("ola")
    wanted = (at("auditor"), at("project-admin", project="default"), RoleAt("platform-operator"))
    attempts = [tenancy.give_role(any_world.at, BOSS, person.user, role) for role in wanted]
    given = await asyncio.gather(*attempts, return_exceptions=True)
    refusals = [found.code for found in given if isinstance(found, ApiError)]
    assert "duties_conflict" in refusals
    held = {one.role for one in any_world.at.tenants.held_of(person.user)}
    assert not any(pair <= held for pair in CONFLICTS), held
    assert any_world.kinds().count("admin.change_failed") == len(refusals)


async def test_a_project_admin_gives_what_is_theirs_to_give_and_no_more(world: World) -> None:
    other = await tenancy.create_project(world.at, BOSS, NewProject("other"))
    admin = await world.person("pat", at("project-admin", project="default"))
    ann = await world.person("ann")
    given = await tenancy.give_role(world.at, admin, ann.user, at("member", project="default"))
    assert (given.role, given.project) == ("member", "default")
    for role in ("project-admin", "owner", "auditor", "data-protection-officer"):
        attempt = tenancy.give_role(world.at, admin, ann.user, at(role, project="default"))
        assert await refused(attempt) == (403, "not_permitted")
    attempt = tenancy.give_role(world.at, admin, ann.user, at("member", project=other.id))
    assert await refused(attempt) == (404, "project_not_found")
    attempt = tenancy.give_role(world.at, admin, ann.user, at("member"))
    assert await refused(attempt) == (403, "not_permitted")
    attempt = tenancy.give_role(world.at, admin, ann.user, RoleAt("member"))
    assert await refused(attempt) == (403, "not_permitted")


async def test_nobody_holds_a_key_in_hand_that_can_more_than_they_may_give(world: World) -> None:
    admin = await world.person("pat", at("project-admin", project="default"))
    officer = await world.person("dan", at("data-protection-officer"))
    ann = await world.person("ann", at("member", project="default"))
    fine = NewKey("hers", project="default", user=ann.user)
    assert (await tenancy.create_key(world.at, admin, fine)).key.user == ann.user
    for wanted in (
        NewKey("his", project="default", user=officer.user),
        NewKey("mine", project="default", role="owner"),
        NewKey("wide", organisation="default", scope="organisation", role="developer"),
        NewKey("all", scope="instance", role="developer"),
    ):
        assert await refused(tenancy.create_key(world.at, admin, wanted)) == (403, "not_permitted")
    boss = await tenancy.create_key(world.at, BOSS, NewKey("boss", scope="instance", role="owner"))
    assert await refused(tenancy.rotate_key(world.at, admin, boss.key.id)) == (404, "key_not_found")
    assert await refused(tenancy.revoke_key(world.at, admin, boss.key.id)) == (404, "key_not_found")


async def test_a_key_in_other_hands_does_not_come_to_more_than_those_may_give(world: World) -> None:
    admin = await world.person("pat", at("project-admin", project="default"))
    ann = await world.person("ann", at("member", project="default"))
    made = await tenancy.create_key(world.at, admin, NewKey("hers", project="default", user=ann.user))
    await tenancy.give_role(world.at, BOSS, ann.user, at("developer"))  # what pat could give there, too
    officer = at("data-protection-officer")
    attempt = tenancy.give_role(world.at, BOSS, ann.user, officer)
    assert await refused(attempt) == (409, "key_in_other_hands")
    assert world.of_key(made.secret).roles == {"member", "developer"}
    directory = frozenset({at_held("auditor")})
    (error,) = await tenancy.set_roles(world.at, BOSS, ann.user, directory, "oidc:x")
    assert error.code == "key_in_other_hands"
    await tenancy.revoke_key(world.at, BOSS, made.key.id)
    now = world.signed_in(ann.user)
    own = await tenancy.create_key(world.at, now, NewKey("own", project="default", user=ann.user))
    await tenancy.give_role(world.at, BOSS, ann.user, officer)
    assert "data-protection-officer" in world.of_key(own.secret).roles


async def test_a_person_makes_and_ends_their_own_keys_and_never_a_wider_one(world: World) -> None:
    ann = await world.person("ann", at("member", project="default"), at("reviewer"))
    made = await tenancy.create_key(world.at, ann, NewKey("laptop", project="default", user=ann.user))
    narrow = world.of_key(made.secret)
    assert narrow.roles == {"member", "reviewer"}
    wider = NewKey("wider", organisation="default", scope="organisation", user=ann.user)
    assert await refused(tenancy.create_key(world.at, narrow, wider)) == (403, "not_permitted")
    assert (await tenancy.create_key(world.at, ann, wider)).key.scope == "organisation"
    await tenancy.revoke_key(world.at, narrow, made.key.id)
    with pytest.raises(ApiError):
        world.of_key(made.secret)


async def test_a_narrowed_key_makes_none_that_reaches_further(world: World) -> None:
    ann = await world.person("ann", at("project-admin", project="default"))
    limits = {
        "models": ("m",),
        "routes": ("embeddings",),
        "networks": ("10.0.0.0/8",),
        "expires": world.now + 10,
    }
    wanted = NewKey("narrow", project="default", user=ann.user, **limits)  # type: ignore[arg-type]
    made = await tenancy.create_key(world.at, ann, wanted)
    narrow = world.live.ring.principal(b"Bearer " + made.secret.encode(), "10.1.2.3")
    inside = msgspec.structs.replace(wanted, name="same", networks=("10.9.0.0/16",))
    assert (await tenancy.create_key(world.at, narrow, inside)).key.models == ("m",)
    for name in limits:
        wider = msgspec.structs.replace(wanted, **{name: None})
        assert await refused(tenancy.create_key(world.at, narrow, wider)) == (403, "not_permitted")
    for wider in (
        msgspec.structs.replace(wanted, networks=("11.0.0.0/8",)),
        msgspec.structs.replace(wanted, models=("m", "n")),
        msgspec.structs.replace(wanted, expires=world.now + 11),
    ):
        assert await refused(tenancy.create_key(world.at, narrow, wider)) == (403, "not_permitted")


async def test_a_key_from_anothers_hands_makes_none_of_ones_own(world: World) -> None:
    owner = await world.person("olu", at("owner"))
    ann = await world.person("ann", at("auditor"))
    wanted = NewKey("hers", organisation="default", scope="organisation", user=ann.user)
    given = await tenancy.create_key(world.at, owner, wanted)
    with_it = world.of_key(given.secret)
    made = await tenancy.create_key(world.at, with_it, wanted)
    rotated = await tenancy.rotate_key(world.at, with_it, given.key.id)
    assert made.key.issuer == rotated.key.issuer == owner.actor
    assert (await tenancy.create_key(world.at, ann, wanted)).key.issuer == ann.actor  # who signed in


async def test_what_a_directory_gave_follows_the_directory_and_what_people_gave_stays(world: World) -> None:
    ann = await world.person("ann", at("member", project="default"))
    wanted = frozenset({at_held("reviewer"), at_held("developer")})
    assert await tenancy.set_roles(world.at, BOSS, ann.user, wanted, "oidc:x") == []
    refusals = await tenancy.set_roles(
        world.at, BOSS, ann.user, frozenset({at_held("reviewer"), at_held("platform-operator")}), "oidc:x"
    )
    assert [error.status for error in refusals] == [400]
    assert {one.role for one in world.signed_in(ann.user).held} == {"member", "reviewer"}


def at_held(role: str) -> Held:
    return Held(role, "default")


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (NewProject("x", ceiling="cosmic"), "ceiling"),
        (NewProject(" "), "name"),
        (NewProject("a\nb"), "name"),
    ],
)
async def test_what_a_project_can_not_be_is_named(world: World, wanted: NewProject, param: str) -> None:
    with pytest.raises(ApiError) as error:
        await tenancy.create_project(world.at, BOSS, wanted)
    assert (error.value.status, error.value.param) == (400, param)
    assert world.log == []


async def test_a_pseudonym_is_named_to_those_who_read_records_where_it_belongs(world: World) -> None:
    org = await tenancy.create_organisation(world.at, BOSS, "Other")
    await tenancy.create_project(world.at, BOSS, NewProject("theirs", org.id))
    record = world.log[-1]
    auditor = await world.person("aud", at("auditor", org.id))
    stranger = await world.person("str", at("auditor"))
    member = await world.person("mem", at("member", project="default"))
    found = named(world.at, auditor, record["project"])
    assert (found.kind, found.name) == ("project", "theirs")
    assert named(world.at, auditor, record["organisation"]).name == "Other"
    for who, status in ((stranger, 404), (member, 404)):
        with pytest.raises(ApiError) as error:
            named(world.at, who, record["project"])
        assert error.value.status == status
    own = world.at.who(f"user:{stranger.user}")
    assert named(world.at, stranger, own).name == "str"
    with pytest.raises(ApiError) as error:
        named(world.at, await world.person("dev", at("developer")), own)
    assert error.value.status == 403


async def test_another_organisations_owner_finds_nothing(world: World) -> None:
    org = await tenancy.create_organisation(world.at, BOSS, "Theirs")
    owner = await world.person("olu", at("owner", org.id), organisation=org.id)
    ann = await world.person("ann")
    made = await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))
    attempts = [
        tenancy.change_project(world.at, owner, "default", ProjectChange(name="x")),
        tenancy.archive_project(world.at, owner, "default"),
        tenancy.create_project(world.at, owner, NewProject("x", "default")),
        tenancy.add_user(world.at, owner, NewUser("X", "x@x.example", "default")),
        tenancy.disable_user(world.at, owner, ann.user),
        tenancy.give_role(world.at, owner, ann.user, at("member", org.id)),
        tenancy.create_key(world.at, owner, NewKey("x", project="default")),
        tenancy.create_key(
            world.at, owner, NewKey("x", organisation=org.id, scope="organisation", user=ann.user)
        ),
        tenancy.rotate_key(world.at, owner, made.key.id),
        tenancy.revoke_key(world.at, owner, made.key.id),
        tenancy.archive_organisation(world.at, owner, "default"),
    ]
    assert [(await refused(attempt))[0] for attempt in attempts] == [404] * len(attempts)
    assert [one.id for one in tenancy.list_organisations(world.at, owner)] == [org.id]
    assert tenancy.list_projects(world.at, owner) == []
    assert tenancy.list_keys(world.at, owner) == []
    assert [one.id for one in tenancy.list_users(world.at, owner)] == [owner.user]


async def test_who_works_for_the_whole_instance_is_no_organisations_to_hold_keys_of(world: World) -> None:
    org = await tenancy.create_organisation(world.at, BOSS, "Theirs")
    owner = await world.person("olu", at("owner", org.id), organisation=org.id)
    operator = await world.person("ope", RoleAt("platform-operator"), organisation="")
    wanted = NewKey("x", organisation=org.id, scope="organisation", user=operator.user)
    assert await refused(tenancy.create_key(world.at, owner, wanted)) == (404, "user_not_found")


async def test_while_the_database_is_gone_keys_are_not_confirmed(world: World) -> None:
    assert world.database.file is not None
    ring = KeyRing(SECRET, {}, monotonic=lambda: moment)
    live = LiveTenants(world.database, ring)
    moment = 0.0
    made = await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))
    await live.refresh()
    bearer = b"Bearer " + made.secret.encode()
    moment = STALE_S + 1
    world.database.close()
    away = world.database.file.rename(world.database.file.with_name("away"))
    with pytest.raises(SQLAlchemyError):
        await live.refresh()
    with pytest.raises(ApiError) as error:
        ring.principal(bearer)
    assert (error.value.status, error.value.code) == (503, "identity_unavailable")
    away.rename(world.database.file)
    await live.refresh()
    assert ring.principal(bearer).key_id == made.key.id
