"""Administrative commands where no server runs: on record, and with no way to contents."""

import json
from pathlib import Path

import pytest

from command_line import Ran, command
from regalia.ledger.lock import file_lock


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance, never served."""
    folder = tmp_path_factory.mktemp("instance") / "data"
    assert command("init", "--data-dir", str(folder)).code == 0
    return folder


def run(instance: Path, *arguments: str) -> Ran:
    """A command on the instance."""
    return command(*arguments, "--data-dir", str(instance))


def records(instance: Path, kind: str) -> list[dict[str, str]]:
    """The published records of a kind."""
    lines = run(instance, "log", "records", "--kind", kind).out.splitlines()
    return [json.loads(line.partition(" ")[2]) for line in lines]


def test_without_a_server_a_command_changes_the_instance_itself_and_on_record(instance: Path) -> None:
    made = run(instance, "orgs", "create", "Ministry of Health", "--json").json
    project = run(instance, "projects", "create", "triage", "--organisation", made["id"], "-q").out.strip()
    run(instance, "projects", "set", project, "--ceiling", "restricted", "--model", "m")
    (shown,) = run(instance, "projects", "list", "--organisation", made["id"], "--json").json
    assert (shown["id"], shown["ceiling"], shown["models"]) == (project, "restricted", ["m"])
    user = run(
        instance, "members", "add", "Ann", "ann@x.example", "--organisation", made["id"], "-q"
    ).out.strip()
    assert run(instance, "members", "give", user, "member", "--project", project).code == 0
    key = run(instance, "apikeys", "create", "Ann's", "--project", project, "--user", user, "-q").out.strip()
    assert key.startswith("rgl_")
    (listed,) = run(instance, "apikeys", "list", "--project", project, "--json").json
    assert listed["hint"] == key[-4:]
    assert key not in json.dumps(listed)
    done = records(instance, "admin.")[-6:]
    assert [record["kind"] for record in done] == [
        "admin.organisation_created",
        "admin.project_created",
        "admin.project_changed",
        "admin.user_added",
        "admin.role_given",
        "admin.key_created",
    ]
    assert len({record["by"] for record in done}) == 1


def test_who_holds_the_machine_is_nobody_who_could_ask_for_contents(instance: Path) -> None:
    call = "call_01m80tvjajb7wmyvw6jfmbvzqy"
    refused = run(instance, "content", "read", call, "--purpose", "curious")
    assert (refused.code, refused.out) == (1, "")
    assert "There is no call" in refused.err


def test_an_error_is_one_sentence(instance: Path) -> None:
    refused = run(instance, "members", "give", "user_nobody", "member")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "regalia: There is no user `user_nobody`.\n"
    refused = run(instance, "projects", "create", "x", "--ceiling", "cosmic")
    assert "public, official, restricted, secret" in refused.err


def test_while_another_process_holds_the_directory_the_command_says_how_to_ask_it(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.ledger.lock.WAIT_S", 0.0)
    with file_lock(instance / "run" / "lock"):
        refused = run(instance, "orgs", "list")
    assert refused.code == 1
    assert "--api-key" in refused.err


def test_with_a_key_and_no_server_nothing_is_done_here(instance: Path) -> None:
    run(instance, "orgs", "create", "of a test")  # with it something is published
    before = len(records(instance, "admin."))
    refused = run(instance, "orgs", "create", "x", "--api-key", "rgl_x", "--base-url", "http://127.0.0.1:1")
    assert (refused.code, refused.err) == (
        1,
        "regalia: no server listens at http://127.0.0.1:1; is it running?\n",
    )
    assert len(records(instance, "admin.")) == before


def test_of_an_instance_that_published_nothing_no_records_are_shown(tmp_path: Path) -> None:
    assert command("init", "--data-dir", str(tmp_path / "d")).code == 0
    refused = run(tmp_path / "d", "log", "records")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("regalia: Nothing is published yet")


def test_the_matrix_is_printed_for_people_and_for_scripts() -> None:
    matrix = command("roles", "--json").json
    assert {role["name"] for role in matrix["roles"]} >= {"owner", "auditor"}
    assert "content.read" in command("roles").out


def test_ids_stay_in_one_piece_and_times_are_dates(instance: Path) -> None:
    made = run(instance, "apikeys", "create", "a web application", "--project", "default", "--json").json
    run(instance, "apikeys", "revoke", made["key"]["id"])
    (row,) = [line for line in run(instance, "apikeys", "list").out.splitlines() if made["key"]["id"] in line]
    assert "a web application" in row
    assert made["key"]["hint"] in row
    assert row.rstrip().endswith("Z")


def test_where_a_pack_is_in_force_is_said_in_words(instance: Path) -> None:
    made = run(instance, "policy", "activate", "ke", "--project", "default", "--at", "2990-01-01T00:00")
    assert "takes force for the project default at 2990-01-01" in made.out
    run(instance, "policy", "activate", "ke")
    rows = run(instance, "policy", "status", "--project", "default").out.splitlines()
    assert [line.split()[2:4] for line in rows[1:]] == [["default", "active"], ["(all)", "active"]]
    assert run(instance, "policy", "rollback").code == 0
    wrong = run(instance, "policy", "activate", "ke", "--at", "tomorrow")
    assert (wrong.code, "not 'tomorrow'" in wrong.err) == (1, True)


def test_a_rollback_says_what_counts_afterwards(instance: Path) -> None:
    for place, told in ((("--project", "default"), "the instance's counts"), ((), "No policy is in force")):
        assert run(instance, "policy", "activate", "ke", *place).code == 0
        assert told in run(instance, "policy", "rollback", *place).out
