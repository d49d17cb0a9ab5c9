"""Lists in pages: nothing is cut silently, and what looks through much does so in threads of its own."""

import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from instance.tenancy_kit import BOSS, SECRET, World, at, refused
from regalia.cli.administering import Administration
from regalia.config import Limits
from regalia.errors import ApiError, RegaliaError
from regalia.identity import Pseudonyms
from regalia.instance import tenancy
from regalia.instance.organization import audit_logs
from regalia.instance.tenancy import NewKey, NewProject, NewUser, ProjectChange, paging, pseudonyms
from regalia.instance.tenancy.operations import OPERATIONS
from regalia.instance.tenancy.pseudonyms import named
from regalia.metering.report import question, usage_rows
from regalia.storage.schema.metering import usage_sums
from regalia.storage.schema.retention import retention_classes
from regalia.storage.schema.tenancy import content_reads

RUN = {(one.method, one.path): one.run for one in OPERATIONS}


async def get(world: World, path: str, actor: Any = BOSS, **asked: str) -> Any:
    return msgspec.to_builtins(await RUN["GET", path](world.at, actor, asked, None))


def test_pages_follow_each_other_to_the_end_of_a_list() -> None:
    every = [{"id": f"id_{number}"} for number in range(250)]
    found: list[Any] = []
    asked: dict[str, str] = {}
    lengths = []
    while True:
        page = paging.page(every, asked)
        lengths.append(len(page["data"]))
        found += page["data"]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        asked = {"after": page["last_id"]}
    assert (found, lengths) == (every, [100, 100, 50])
    assert paging.page([], {}) == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip
    for wrong in ({"limit": "0"}, {"limit": "1001"}, {"limit": "-1"}, {"limit": "x"}, {"after": "id_x"}):
        with pytest.raises(ApiError) as raised:
            paging.page(every, wrong)
        assert raised.value.status == 400


async def test_rows_are_paged_in_the_database_and_those_of_others_use_up_no_page(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = any_world
    monkeypatch.setattr(paging, "_CHUNK", 7)
    names = ("id", "request", "call", "project", "reader", "purpose")
    rows = [
        {
            **dict.fromkeys(names, "default"),
            "id": f"read_{n:03}",
            "record": n,
            "time": n // 3,
            "request": f"r{n}",
        }
        for n in range(40)
    ]
    with world.database.write() as connection:
        connection.execute(insert(content_reads), rows)
    found: list[str] = []
    asked: dict[str, str] = {"limit": "9"}
    while True:
        page = await get(world, "/v1/regalia/content/reads", project="default", **asked)
        found += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        asked["after"] = page["last_id"]
    assert found == [f"read_{n:03}" for n in reversed(range(40))]
    wrong = get(world, "/v1/regalia/content/reads", project="default", after="read_x")
    assert await refused(wrong) == (400, "invalid_value")
    monkeypatch.setattr(paging, "MOST_LOOKED_AT", 7)
    with world.database.read() as connection:
        order = content_reads.c.time, content_reads.c.id
        page = paging.page_of_rows(connection, content_reads.select(), order, {}, lambda row: None)
    assert (page["data"], page["has_more"], page["last_id"]) == ([], True, "read_006")


async def test_usage_is_paged_by_what_it_is_the_sum_of(any_world: World) -> None:
    counts = ("requests", "input", "cached", "output", "cost", "measured", "energy")
    names = ("day", "organisation", "project", "key_id", "user_id", "route", "model", "currency", "price")
    row = dict.fromkeys(names, "") | dict.fromkeys(counts, 1)
    rows = [{**row, "day": "2026-11-01", "model": f"m/{n}", "route": "chat"} for n in range(5)]
    with any_world.database.write() as connection:
        connection.execute(insert(usage_sums), rows)
        asked = question(by=("day", "model"))
        first = usage_rows(connection, asked, limit=2)
        others = usage_rows(connection, asked, after=first[-1]["id"])
    assert [one["model"] for one in (*first, *others)] == [f"m/{n}" for n in range(5)]
    wrong = get(any_world, "/v1/regalia/usage", by="day", after=first[-1]["id"])
    assert await refused(wrong) == (400, "invalid_value")
    page = await get(any_world, "/v1/regalia/usage", by="day,model", limit="3")
    assert (len(page["data"]), page["has_more"], page["last_id"]) == (3, True, page["data"][-1]["id"])


async def test_what_looks_through_much_leaves_the_event_loop_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def noting(which: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            looked.append(threading.current_thread().name)
            return which(*arguments, **options)

        return run

    monkeypatch.setattr(pseudonyms, "_somewhere", noting(pseudonyms._somewhere))
    monkeypatch.setattr(tenancy.places, "list_projects", noting(tenancy.places.list_projects))
    monkeypatch.setattr(audit_logs, "_decode", noting(audit_logs._decode))
    one = (0, b'{"kind":"admin.x","time":1,"by":""}')
    world.at.entries = lambda before, count: [one] if before is None else []
    await refused(get(world, "/v1/regalia/pseudonyms/{pseudonym}", pseudonym="0" * 32))
    await get(world, "/v1/regalia/projects")
    assert len((await get(world, "/v1/organization/audit_logs"))["data"]) == 1
    assert len(looked) >= 3
    assert all(name.startswith("regalia-scan") for name in looked)


async def test_audit_logs_are_read_piece_by_piece_and_lead_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ["call.admitted", "admin.key_created", "call.answered"]
    log = [
        (n, msgspec.json.encode({"kind": kinds[n % 3], "time": 1000 * n, "by": world.at.who("os:root")}))
        for n in range(300)
    ]

    def entries(before: int | None, count: int) -> list[tuple[int, bytes]]:
        end = len(log) if before is None else before
        return log[max(0, end - count) : end][::-1]

    world.at.entries = entries
    monkeypatch.setattr(audit_logs, "PIECE", 16)
    monkeypatch.setattr(audit_logs, "MOST_ENTRIES", 64)
    found: list[int] = []
    asked: dict[str, str] = {}
    while True:
        page = await get(world, "/v1/organization/audit_logs", **asked)
        found += [int(one["effective_at"]) for one in page["data"]]
        if not page["has_more"]:
            break
        asked["after"] = page["last_id"]
    assert found == [n for n in reversed(range(300)) if n % 3 == 1]


async def test_a_pseudonym_of_a_place_is_looked_for_month_by_month_and_the_end_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = await tenancy.create_organisation(world.at, BOSS, "Ministry")
    then = Pseudonyms(SECRET).of(f"organisation:{org.id}", world.now)
    key = (await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))).key
    assert named(world.at, BOSS, world.at.who(f"key:{key.id}")).id == key.id
    world.now += 200 * 86_400_000
    assert named(world.at, BOSS, then).id == org.id
    monkeypatch.setattr(pseudonyms, "MOST_TRIED", 3)
    with pytest.raises(ApiError, match="before=") as raised:
        named(world.at, BOSS, then)
    found = None
    while found is None:  # as whoever asks goes on by what the error says
        month = raised.value.message.partition("before=")[2][:7]
        try:
            found = named(world.at, BOSS, then, month)
        except ApiError as error:
            assert error.message != raised.value.message
            raised.value.message = error.message
    assert found.id == org.id
    for wrong in ("2026-13", "x"):
        with pytest.raises(ApiError, match="is a month"):
            named(world.at, BOSS, then, wrong)


async def test_there_are_no_more_of_anything_than_the_configuration_says(world: World) -> None:
    person = await world.person("ann")
    key = (await tenancy.create_key(world.at, BOSS, NewKey("app", project="default"))).key
    world.at.limits = Limits(organisations=1, projects=1, people=1, keys=1)
    before = len(world.log)
    another = NewUser("ben", "ben@x.example")
    for what, attempt in (
        ("organisations", tenancy.create_organisation(world.at, BOSS, "Another")),
        ("projects", tenancy.create_project(world.at, BOSS, NewProject("another"))),
        ("people", tenancy.add_user(world.at, BOSS, another)),
        ("keys", tenancy.create_key(world.at, BOSS, NewKey("another", project="default"))),
    ):
        with pytest.raises(ApiError, match=f"limits.{what}") as raised:
            await attempt
        assert (raised.value.status, raised.value.code) == (409, "limit_reached")
    assert len(world.log) == before
    await tenancy.revoke_key(world.at, BOSS, key.id)  # what has ended does not count
    await tenancy.create_key(world.at, BOSS, NewKey("another", project="default"))
    await tenancy.disable_user(world.at, BOSS, person.user)
    await tenancy.add_user(world.at, BOSS, another)
    again = tenancy.disable_user(world.at, BOSS, person.user, disabled=False)
    assert await refused(again) == (409, "limit_reached")


async def test_a_project_gets_only_a_retention_class_that_is_defined(world: World) -> None:
    with world.database.write() as connection:
        connection.execute(insert(retention_classes).values(name="short", content_days=30, changed=1))
    for attempt in (
        tenancy.change_project(world.at, BOSS, "default", ProjectChange(retention="shrot")),
        tenancy.create_project(world.at, BOSS, NewProject("another", retention="shrot")),
    ):
        with pytest.raises(ApiError, match="only: default, short") as raised:
            await attempt
        assert (raised.value.status, raised.value.param) == (400, "retention")
    changed = await tenancy.change_project(world.at, BOSS, "default", ProjectChange(retention="short"))
    assert changed.retention == "short"
    again = await tenancy.change_project(world.at, BOSS, "default", ProjectChange(retention="default"))
    assert again.retention == "default"


class Pages(Administration):
    """A command's way to a server that answers with pages."""

    def __init__(self, pages: list[dict[str, Any]]) -> None:
        self.answers = pages
        self.asked: list[str] = []

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        self.asked.append(f"{method} {path}")
        return self.answers.pop(0)


def test_commands_follow_pages_and_notice_a_list_that_leads_nowhere() -> None:
    first = {"data": [{"id": "a"}], "last_id": "a", "has_more": True}
    reach = Pages([first, {"data": [{"id": "b"}], "last_id": "b", "has_more": False}])
    assert reach.listed("/keys", project="p", user="") == [{"id": "a"}, {"id": "b"}]
    assert reach.asked == ["GET /keys?project=p&limit=1000", "GET /keys?project=p&limit=1000&after=a"]
    with pytest.raises(RegaliaError, match="cut off"):
        Pages([first, first]).listed("/keys")


async def test_lists_of_places_hold_what_the_asker_may_see(world: World) -> None:
    await tenancy.create_organisation(world.at, BOSS, "elsewhere")
    otto = await world.person("otto", at("auditor"))
    page = await get(world, "/v1/regalia/organisations", otto)
    assert [one["id"] for one in page["data"]] == ["default"]
