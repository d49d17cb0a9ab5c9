"""Retention classes, holds and archives as operators meet them, with a server that applies them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from command_line import Ran, command
from keeping_kit import dated
from ledger_kit import Call, event
from regalia.clock import now_ms
from regalia.instance.keeping import epochs_of
from regalia.ledger import KeyFiles
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.vault.retention import DAY_MS
from regalia_verify.log import verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from regalia_verify.source import Folder
from serving import PATIENCE_S, FakeEngine, Server, ServerFactory


class Site(msgspec.Struct, frozen=True):
    """A served instance with calls of other days, and a key that was issued by nobody who has another."""

    server: Server
    old: list[Call]
    ancient: list[Call]
    second_key: str

    def run(self, *arguments: str, key: str = "") -> Ran:
        """A command that asks the server."""
        where = ("--data-dir", str(self.server.data_dir), "--base-url", self.server.url)
        return command(*arguments, *where, "--api-key", key or self.server.api_key, "--json")

    def content(self, call: str) -> str:
        """What the verifier says of a call's contents."""
        policy = TrustPolicy.parse(self.server.get("/log/policy").text)
        return verify_receipt(self.server.receipt(call), policy).content


def fill(server: Server, days_ago: int, count: int) -> list[Call]:
    """Calls that were answered and sealed some days ago."""
    ms = now_ms() - days_ago * DAY_MS
    ((_, name),) = epochs_of(secret(server), "default", ms, ms)[-1:]
    url, keys = f"sqlite:///{server.data_dir}/regalia.db", KeyFiles.under(server.data_dir / "keys")
    log = Log.open(Where(server.data_dir, url, "test", server.origin, keys), clock=lambda: ms)
    calls = [dated(Call.new("default"), ms) for _ in range(count)]
    for call in calls:
        log.append([named(call, name)[0], named(call, name)[1]])
    log.append([event(n) for n in range(300)])
    log.close()
    return calls


def named(call: Call, pseudonym: str) -> Any:
    """A call's records, with the project's pseudonym of that month."""
    from regalia_verify.merkle import leaf_hash

    admission = call.admission()
    record = admission.record.replace(b"0" * 32, pseudonym.encode())
    before = leaf_hash(admission.record).hex().encode()
    outcome = call.outcome()
    renamed = outcome.record.replace(b"0" * 32, pseudonym.encode())
    renamed = renamed.replace(before, leaf_hash(record).hex().encode())
    change = msgspec.structs.replace
    return change(admission, record=record), change(outcome, record=renamed)


def secret(server: Server) -> bytes:
    from regalia.instance.directory import secret_of

    return secret_of(server.data_dir)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fake_engine: FakeEngine) -> Iterator[Site]:
    factory = ServerFactory(tmp_path_factory.mktemp("keeping"))
    server = factory(**fake_engine.config, log_level="info", retention={"apply_seconds": 1})
    ancient, old = fill(server, 70, 3), fill(server, 40, 3)
    made = command(
        "apikeys", "create", "officer", "--role", "owner", "--data-dir", str(server.data_dir), "--json"
    )
    yield Site(server.start(), old, ancient, made.json["secret"])
    factory.stop_all()


def until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_hold_is_placed_and_two_persons_lift_it(site: Site) -> None:
    call, neighbour = (site.server.chat(said, user="amina") for said in ("Held", "Free"))
    held = site.run("hold", "place", "--call", call.call, "--reason", "case 7").json["hold"]
    erase = ("content", "erase", "--basis", "a request", "--yes", "--call")
    refused = site.run(*erase, call.call)
    assert (refused.code, held in refused.err) == (1, True)
    wide = site.run("content", "erase", "--basis", "a test", "--yes", "--end-user", "amina").json
    assert (wide["calls"], wide["held"]) == ([neighbour.call], [held])
    assert site.content(call.call) == "not compared"
    assert [one["id"] for one in site.run("hold", "list").json] == [held]

    assert site.run("hold", "lift", held).json == {"hold": held, "lifted": False}
    assert "somebody else has to consent" in site.run("hold", "lift", held).err
    issued = site.run("apikeys", "create", "puppet", "--role", "owner").json["secret"]
    assert "second person" in site.run("hold", "lift", held, key=issued).err
    assert site.run("hold", "lift", held, key=site.second_key).json == {"hold": held, "lifted": True}
    far = site.run("hold", "place", "--period", "2099-01-01..2099-02-01", "--reason", "case 8").json["hold"]
    twin = site.run("apikeys", "create", "twin", "--role", "owner", key=issued).json["secret"]
    assert site.run("hold", "lift", far, key=issued).json == {"hold": far, "lifted": False}
    other = site.run("apikeys", "create", "other", "--role", "owner").json["secret"]
    for same_hands in (twin, other):
        assert "second person" in site.run("hold", "lift", far, key=same_hands).err
    assert site.run("hold", "lift", far, key=site.second_key).json == {"hold": far, "lifted": True}
    assert site.run("hold", "list").json == []
    assert site.run(*erase, call.call).code == 0
    assert site.content(call.call) == "erased"
    kinds = [record["kind"] for record in site.server.records()]
    assert (kinds.count("hold.placed"), kinds.count("hold.lifted")) == (2, 2)


def test_holds_that_say_too_little_are_refused(site: Site) -> None:
    for arguments, told in [
        ((), "needs a project, calls or a period"),
        (("--period", "2026-01-01"), "a period is like"),
        (("--period", "then.."), "is a date like"),
        (("--project", "none"), "no project"),
        (("--call", "call_" + "0" * 26), "not calls of one project"),
    ]:
        ran = site.run("hold", "place", "--reason", "x", *arguments)
        assert (ran.code, told in ran.err) == (1, True), ran
    developer = site.run("apikeys", "create", "app", "--project", "default").json["secret"]
    ran = site.run("hold", "place", "--reason", "x", "--project", "default", key=developer)
    assert "do not permit" in ran.err
    assert "no hold" in site.run("hold", "lift", "hold_none").err


def test_the_server_applies_the_classes_by_itself(site: Site) -> None:
    held = site.run("hold", "place", "--call", site.ancient[0].id, "--reason", "case 8").json["hold"]
    new = site.server.chat("Today")
    assert site.content(site.old[0].id) == "not compared"
    odd = site.run("retention", "define", "odd", "--content-days", "30", "--index-days", "29")
    assert (odd.code, "index" in odd.err) == (1, True)
    site.run("retention", "define", "month", "--content-days", "30", "--index-days", "60").json  # noqa: B018
    site.run("projects", "set", "default", "--retention", "month").json  # noqa: B018
    shown = site.run("retention", "list").json
    assert ("default", "month") in [(one["project"], one["class"]) for one in shown["projects"]]
    gone = site.server.http()
    until(lambda: gone.get(f"/v1/receipts/{site.ancient[1].id}").status_code == 404)
    assert site.content(site.old[0].id) == "erased"
    assert site.content(site.ancient[0].id) == "not compared"
    assert site.content(new.call) == "not compared"
    assert site.run("retention", "apply", "--dry-run").json["content"] == []
    assert held in site.run("retention", "apply").json["held"]
    gone.close()
    assert "retention.applied" in {record["kind"] for record in site.server.records()}
    found = command("log", "fsck", "--data-dir", str(site.server.data_dir), "--json")
    assert found.json["found"] == []


def test_old_files_are_archived_while_the_server_runs(site: Site, tmp_path: Path) -> None:
    archive = ("log", "archive", "--before", "600", "--to", str(tmp_path / "archive"))
    until(lambda: site.server.log_size() > 600)
    assert site.run(*archive).json == {
        "minimum": 512, "files": 2, "archive": str(tmp_path / "archive"),
    }  # fmt: skip
    assert site.run(*archive).json["files"] == 0
    policy = TrustPolicy.parse(site.server.get("/log/policy").text)
    folder = Folder(site.server.data_dir / "log")
    until(lambda: verify_log(folder, policy).history.kinds["admin.log_archived"] == 1)
    assert site.content(site.old[0].id) == "erased"
    (tmp_path / "archive").rename(tmp_path / "away")
    assert site.server.get("/log/tile/entries/001").status_code == 404
    assert site.content(site.ancient[0].id) == "not compared"  # it is in the first bundle
    answer = site.server.get(f"/v1/receipts/{site.old[0].id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "archived")
    found = command("log", "fsck", "--data-dir", str(site.server.data_dir), "--json")
    assert found.json["found"] == []
    (tmp_path / "away").rename(tmp_path / "archive")
