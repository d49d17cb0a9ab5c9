"""/v1/organization, asked by the official OpenAI SDK: administration as tools that know it expect it."""

import time
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types.admin.organization.usage_completions_response import (
    DataResultOrganizationUsageCompletionsResult as Used,
)
from openai.types.admin.organization.usage_costs_response import DataResultOrganizationCostsResult as Cost

from e2e.tenancy_site import Site
from serving import FakeEngine, Server, ServerFactory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, fake_engine: FakeEngine) -> Iterator[Server]:
    factory = ServerFactory(tmp_path_factory.mktemp("organization"))
    yield factory(**fake_engine.config).start()
    factory.stop_all()


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="-", admin_api_key=server.api_key, base_url=f"{server.url}/v1", max_retries=0
    ) as client:
        yield client


def test_how_audit_events_go_out_and_what_rails_decide_can_be_watched(server: Server) -> None:
    state = httpx.get(f"{server.url}/readyz", timeout=60).json()
    assert (state["ready"], state["audit_export"]) == (True, "none")
    told = httpx.get(f"{server.url}/metrics", timeout=60).text
    for name in ("regalia_policy_decisions_total", "regalia_audit_export_failures", "regalia_calls_total"):
        assert f"# TYPE {name.removesuffix('_total')}" in told, name
    for path in ("/schema", "/schema/openapi.json", "/schema/redoc"):  # the framework's own pages
        assert httpx.get(f"{server.url}{path}", timeout=60).status_code == httpx.codes.NOT_FOUND
    assert httpx.get(f"{server.url}/openapi.json", timeout=60).json()["openapi"].startswith("3.1")
    assert "/v1/regalia/reviews" in httpx.get(f"{server.url}/docs", timeout=60).text


def test_projects_are_created_renamed_listed_and_archived(admin: openai.OpenAI) -> None:
    projects = admin.admin.organization.projects
    made = [projects.create(name=f"Ministry {number}") for number in range(3)]
    assert projects.update(made[0].id, name="Ministry of Works").name == "Ministry of Works"
    assert projects.retrieve(made[0].id).status == "active"
    first = projects.list(limit=2)
    assert first.has_more and len(first.data) == 2
    everything = list(projects.list(limit=2))  # the SDK follows `after`
    assert {one.id for one in made} <= {one.id for one in everything}
    assert projects.archive(made[2].id).status == "archived"
    assert made[2].id not in {one.id for one in projects.list()}
    assert made[2].id in {one.id for one in projects.list(include_archived=True)}


def test_a_service_accounts_key_answers_until_it_is_deleted(server: Server, admin: openai.OpenAI) -> None:
    projects = admin.admin.organization.projects
    project = projects.create(name="Clinics").id
    account = projects.service_accounts.create(project, name="triage")
    assert account.api_key is not None
    secret = account.api_key.value
    site = Site(server)
    assert site.call(secret).startswith("call_")
    listed = projects.api_keys.list(project).data
    assert [one.id for one in listed] == [account.api_key.id]
    assert secret not in listed[0].redacted_value and listed[0].redacted_value.endswith(secret[-4:])
    assert projects.service_accounts.retrieve(account.id, project_id=project).name == "triage"
    assert projects.service_accounts.delete(account.id, project_id=project).deleted
    assert site.ask("GET", "/v1/models", secret).status_code == httpx.codes.UNAUTHORIZED
    assert not projects.api_keys.list(project).data


def test_people_are_invited_join_a_project_and_leave(admin: openai.OpenAI) -> None:
    organization = admin.admin.organization
    project = organization.projects.create(name="Courts").id
    invited = organization.invites.create(
        email="amina@courts.example", role="reader", projects=[{"id": project, "role": "member"}]
    )
    assert invited.status == "pending"
    [person] = organization.users.list(emails=["amina@courts.example"]).data
    members = organization.projects.users
    assert members.retrieve(person.id, project_id=project).role == "member"
    assert members.update(person.id, project_id=project, role="owner").role == "owner"
    assert [one.email for one in members.list(project).data] == ["amina@courts.example"]
    assert members.delete(person.id, project_id=project).deleted
    assert not members.list(project).data
    assert organization.users.update(person.id, role="owner").role == "owner"
    assert organization.invites.delete(person.id).deleted
    with pytest.raises(openai.NotFoundError):
        organization.users.retrieve(person.id)


def test_an_admin_key_administers_its_organisation_until_it_is_deleted(
    server: Server, admin: openai.OpenAI
) -> None:
    keys = admin.admin.organization.admin_api_keys
    made = keys.create(name="poller")
    assert made.value is not None
    with openai.OpenAI(
        api_key="-", admin_api_key=made.value, base_url=f"{server.url}/v1", max_retries=0
    ) as other:
        assert other.admin.organization.projects.list().data
        assert made.id in {one.id for one in keys.list().data}
        assert keys.delete(made.id).deleted
        with pytest.raises(openai.AuthenticationError):
            other.admin.organization.projects.list()


def test_usage_and_costs_are_told_by_project_and_model(server: Server, admin: openai.OpenAI) -> None:
    site = Site(server)
    site.make("/prices", {"model": "fake", "currency": "KES", "input": "1000000", "output": "2000000"})
    usage = admin.admin.organization.usage
    since = int(time.time()) - 86_400

    def cost_of(project: str) -> list[tuple[float | None, str | None]]:
        told = usage.costs(start_time=since, group_by=["project_id"])
        found = [one for bucket in told.data for one in bucket.results if isinstance(one, Cost)]
        return [
            (one.amount.value, one.amount.currency)
            for one in found
            if one.project_id == project and one.amount
        ]

    first, first_key = project_with_key(admin, "Before")
    deadline = time.monotonic() + 200
    while not cost_of(first):  # a price is in force within a second
        assert time.monotonic() < deadline
        site.call(first_key)
    project, key = project_with_key(admin, "Metered")
    for _ in range(3):
        site.call(key)
    told = usage.completions(start_time=since, group_by=["project_id", "model"], project_ids=[project])
    results = [one for bucket in told.data for one in bucket.results if isinstance(one, Used)]
    assert {(one.project_id, one.model) for one in results} == {(project, "fake")}  # of one day or of two
    assert sum(one.num_model_requests for one in results) == 3
    costs = cost_of(project)
    assert {currency for _, currency in costs} == {"kes"}
    tokens = sum(one.input_tokens + 2 * one.output_tokens for one in results)
    assert sum(amount or 0 for amount, _ in costs) == tokens
    with pytest.raises(openai.BadRequestError, match="kept by the day"):
        usage.completions(start_time=since, bucket_width="1m")
    assert not any(bucket.results for bucket in usage.images(start_time=since).data)


def project_with_key(admin: openai.OpenAI, name: str) -> tuple[str, str]:
    """A new project, and a key for it."""
    projects = admin.admin.organization.projects
    project = projects.create(name=name).id
    account = projects.service_accounts.create(project, name=name)
    assert account.api_key is not None
    return project, account.api_key.value


def test_audit_logs_tell_who_did_what_the_newest_first(admin: openai.OpenAI) -> None:
    organization = admin.admin.organization
    made = organization.projects.create(name="Audited")
    organization.projects.archive(made.id)
    found = organization.audit_logs.list(limit=2)
    assert [one.type for one in found.data] == ["admin.project_archived", "admin.project_created"]
    assert found.data[0].actor is not None and found.data[0].actor.api_key is not None
    assert found.data[0].effective_at <= time.time()
    older = organization.audit_logs.list(limit=100, after=found.data[-1].id).data
    assert older and older[-1].type == "log.opened"  # type: ignore[comparison-overlap]
    assert not {one.id for one in found.data} & {one.id for one in older}


def test_a_page_is_never_longer_than_the_longest(server: Server) -> None:
    with server.http() as client:
        for limit in ("101", "0", "-1", "0000991000000", "00000000001"):
            reply = client.get("/v1/organization/projects", params={"limit": limit})
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limit")


def test_what_is_not_of_the_organisation_is_not_found(server: Server, admin: openai.OpenAI) -> None:
    site = Site(server)
    other = site.make("/organisations", {"name": "another"})["id"]
    theirs = site.make("/projects", {"name": "theirs", "organisation": other})["id"]
    with pytest.raises(openai.NotFoundError):
        admin.admin.organization.projects.retrieve(theirs)
    assert theirs not in {one.id for one in admin.admin.organization.projects.list(limit=100)}
