"""Reading content: for a purpose, granted by a second person, for a while, and never off the record."""

import pytest
from sqlalchemy import insert

from instance.tenancy_kit import BOSS, CALL, World, at, refused
from regalia.errors import AuditUnavailable
from regalia.identity import Principal
from regalia.instance import tenancy
from regalia.instance.tenancy import NewKey, NewProject
from regalia.ledger import Part
from regalia.storage.schema import calls

PURPOSE = "complaint 2026-114"


@pytest.fixture
async def asked(world: World) -> World:
    """An instance in whose default project one call was made."""
    with world.database.write() as connection:
        row = {"call": CALL, "project": "default", "process": "p", "admitted": 1, "outcome": 2}
        connection.execute(insert(calls).values(**row, admitted_hash=b"h" * 32))
    world.said[CALL] = (Part("request", b"s" * 32, b"question"), Part("response", b"s" * 32, b"answer"))
    return world


async def test_an_auditor_reads_what_a_second_person_granted_and_it_is_on_record_first(asked: World) -> None:
    auditor = await asked.person("aud", at("auditor"))
    officer = await asked.person("dan", at("data-protection-officer"))
    assert await refused(tenancy.read_content(asked.at, auditor, CALL)) == (403, "content_not_granted")
    request = await tenancy.request_content(asked.at, auditor, CALL, PURPOSE)
    assert await refused(tenancy.read_content(asked.at, auditor, CALL)) == (403, "content_not_granted")
    decided = await tenancy.decide_request(asked.at, officer, request.id, grant=True)
    assert decided.until == asked.now + 600_000
    said = await tenancy.read_content(asked.at, auditor, CALL)
    assert [part.data for part in said.parts] == [b"question", b"answer"]
    record = asked.log[said.record]
    assert record["kind"] == "content.read"
    assert (record["call"], record["purpose"], record["request"]) == (CALL, PURPOSE, request.id)
    assert record["by"] == asked.at.who(f"user:{auditor.user}")
    (read,) = (await tenancy.list_reads(asked.at, officer, "default"))["data"]
    assert (read.reader, read.record, read.purpose) == (f"user:{auditor.user}", said.record, PURPOSE)
    asked.now += 600_000
    assert await refused(tenancy.read_content(asked.at, auditor, CALL)) == (403, "content_not_granted")
    assert asked.kinds().count("admin.content_denied") == 3


async def test_the_bytes_stay_where_they_are_if_the_reading_can_not_be_recorded(asked: World) -> None:
    auditor = await granted(asked)
    asked.down = True
    with pytest.raises(AuditUnavailable):
        await tenancy.read_content(asked.at, auditor, CALL)
    assert asked.kinds()[-1] == "admin.content_granted"


async def granted(world: World) -> Principal:
    """An auditor who was granted to read the call."""
    auditor = await world.person("aud", at("auditor"))
    officer = await world.person("dan", at("data-protection-officer"))
    request = await tenancy.request_content(world.at, auditor, CALL, PURPOSE)
    await tenancy.decide_request(world.at, officer, request.id, grant=True)
    return auditor


async def test_nobody_grants_what_they_asked_for_even_where_they_may_do_both(asked: World) -> None:
    officer = await asked.person("dan", at("data-protection-officer"))
    request = await tenancy.request_content(asked.at, officer, CALL, PURPOSE)
    attempt = tenancy.decide_request(asked.at, officer, request.id, grant=True)
    assert await refused(attempt) == (403, "not_oneself")


async def test_who_issued_the_others_key_is_no_second_person(asked: World) -> None:
    owner = await asked.person("olu", at("owner"), at("data-protection-officer"))
    auditor = await asked.person("aud", at("auditor"))
    await asked.with_key(auditor, issuer=BOSS)
    wanted = NewKey("x", organisation="default", scope="organisation", user=auditor.user)
    key = await tenancy.create_key(asked.at, owner, wanted)
    request = await tenancy.request_content(asked.at, asked.of_key(key.secret), CALL, PURPOSE)
    attempt = tenancy.decide_request(asked.at, owner, request.id, grant=True)
    assert await refused(attempt) == (403, "not_independent")
    await tenancy.revoke_key(asked.at, BOSS, key.key.id)
    attempt = tenancy.decide_request(asked.at, owner, request.id, grant=True)
    assert await refused(attempt) == (403, "not_independent"), "it may have been asked for with that key"
    asked.now += 1000
    request = await tenancy.request_content(asked.at, asked.signed_in(auditor.user), CALL, PURPOSE)
    decided = await tenancy.decide_request(asked.at, owner, request.id, grant=True)
    assert decided.granted == 1
    again = await tenancy.create_key(asked.at, owner, wanted)
    reading = tenancy.read_content(asked.at, asked.of_key(again.secret), CALL)
    assert await refused(reading) == (403, "not_independent")


async def test_nor_is_whoever_holds_the_key_of_who_issued_it(asked: World) -> None:
    officer = await asked.person("dan", at("data-protection-officer"), at("owner"))
    admin = await asked.person("adm", at("owner"))
    auditor = await asked.person("aud", at("auditor"))
    key = NewKey("x", organisation="default", scope="organisation", user=admin.user)
    puppet = asked.of_key((await tenancy.create_key(asked.at, officer, key)).secret)
    for_auditor = NewKey("y", organisation="default", scope="organisation", user=auditor.user)
    issued = asked.of_key((await tenancy.create_key(asked.at, puppet, for_auditor)).secret)
    request = await tenancy.request_content(asked.at, issued, CALL, PURPOSE)
    attempt = tenancy.decide_request(asked.at, officer, request.id, grant=True)
    assert await refused(attempt) == (403, "not_independent")
    other = await asked.person("dee", at("data-protection-officer"))
    assert (await tenancy.decide_request(asked.at, other, request.id, grant=True)).granted == 1


async def test_a_request_is_decided_once_and_a_refusal_grants_nothing(asked: World) -> None:
    auditor = await asked.person("aud", at("auditor"))
    officer = await asked.person("dan", at("data-protection-officer"))
    request = await tenancy.request_content(asked.at, auditor, CALL, PURPOSE, 60)
    refusal = await tenancy.decide_request(asked.at, officer, request.id, grant=False)
    assert (refusal.granted, refusal.until) == (0, None)
    again = tenancy.decide_request(asked.at, officer, request.id, grant=True)
    assert await refused(again) == (409, "decided_already")
    assert await refused(tenancy.read_content(asked.at, auditor, CALL)) == (403, "content_not_granted")


async def test_a_grant_is_for_the_one_who_asked_and_only_while_they_are_who_they_were(asked: World) -> None:
    auditor = await granted(asked)
    other = await asked.person("eve", at("auditor"))
    assert await refused(tenancy.read_content(asked.at, other, CALL)) == (403, "content_not_granted")
    await tenancy.take_role(asked.at, BOSS, auditor.user, at("auditor"))
    attempt = tenancy.read_content(asked.at, asked.signed_in(auditor.user), CALL)
    assert (await refused(attempt))[0] in (403, 404)


@pytest.mark.parametrize("role", ["owner", "developer", "member", "reviewer", "project-admin"])
async def test_everybody_else_is_refused_on_record(asked: World, role: str) -> None:
    person = await asked.person("per", at(role))
    attempt = tenancy.request_content(asked.at, person, CALL, PURPOSE)
    assert await refused(attempt) == (403, "not_permitted")
    assert await refused(tenancy.read_content(asked.at, person, CALL)) == (403, "not_permitted")
    denied = asked.log[-1]
    assert (denied["kind"], denied["call"]) == ("admin.content_denied", CALL)
    assert denied["by"] == asked.at.who(f"user:{person.user}")


async def test_an_auditor_of_another_project_finds_no_call(asked: World) -> None:
    other = await tenancy.create_project(asked.at, BOSS, NewProject("other"))
    stranger = await asked.person("str", at("auditor", project=other.id))
    request = await tenancy.request_content(asked.at, await asked.person("aud", at("auditor")), CALL, PURPOSE)
    before = len(asked.log)
    for attempt in (
        tenancy.request_content(asked.at, stranger, CALL, PURPOSE),
        tenancy.read_content(asked.at, stranger, CALL),
        tenancy.decide_request(asked.at, stranger, request.id, grant=True),
        tenancy.list_reads(asked.at, stranger, "default"),
        tenancy.list_requests(asked.at, stranger, "default"),
    ):
        assert (await refused(attempt))[0] == 404
    assert (await tenancy.list_requests(asked.at, stranger))["data"] == []
    assert len(asked.log) == before


async def test_what_was_erased_is_gone(asked: World) -> None:
    auditor = await granted(asked)
    asked.said[CALL] = ()
    assert await refused(tenancy.read_content(asked.at, auditor, CALL)) == (410, "content_erased")
    assert "content.read" not in asked.kinds()


@pytest.mark.parametrize(
    ("purpose", "seconds"), [("", 600), ("x" * 501, 600), (PURPOSE, 0), (PURPOSE, 86_401)]
)
async def test_a_request_needs_a_purpose_and_an_end(asked: World, purpose: str, seconds: int) -> None:
    auditor = await asked.person("aud", at("auditor"))
    attempt = tenancy.request_content(asked.at, auditor, CALL, purpose, seconds)
    assert await refused(attempt) == (400, "invalid_value")
