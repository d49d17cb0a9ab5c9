"""Retention applied to a real log: what is over goes, on record; what is not, or is held, stays."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from keeping_kit import apply, check, content, define, erasure, give, hold, lift, said
from ledger_kit import PROJECT, Site, publish
from regalia.clock import now_ms
from regalia.ledger import ReceiptNotFound, retaining
from regalia.ledger.log import Log
from regalia.ledger.retaining import ApplyRetention, Retainer, RetentionDue


@pytest.fixture
def month(site: Site) -> Site:
    """A project whose class keeps contents for 30 days and the index for 60."""
    give(site, PROJECT, "month")
    with site.log() as log:
        define(log, "month", 30, 60)
    return site


def kinds(site: Site, log: Log) -> dict[str, int]:
    publish(log)
    return site.verify(closed=True).history.kinds


def rows(site: Site, table: str) -> int:
    with site.database().read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_what_is_over_goes_and_the_rest_stays(month: Site) -> None:
    old, new, other = said(month, 40), said(month, 20), said(month, 40, project="other")
    slots = (month.data_dir / "keys" / "vault.keys").read_bytes()
    with month.log() as log:
        done = apply(log, PROJECT, "other")
        assert (done["keys"], done["calls"], done["index"], len(done["erasures"])) == (1, 0, 0, 1)
        assert [content(month, log, call) for call in (*old, *new, *other)] == (
            ["erased"] * 2 + ["verified"] * 4
        )
        counted = kinds(month, log)
        assert (counted["retention.applied"], counted["content.erased"]) == (1, 1)
    assert len(cleared(slots, month.data_dir / "keys" / "vault.keys")) == 1
    assert check(month).found == []


def cleared(before: bytes, keys: Path) -> list[int]:
    """The slots that held a key and are zeros now."""
    after = keys.read_bytes()
    used = [at for at in range(512, len(before), 512) if any(before[at : at + 512])]
    return [at for at in used if not any(after[at : at + 512])]


def test_a_run_that_finds_nothing_records_nothing(month: Site) -> None:
    said(month, 10)
    with month.log() as log:
        before = kinds(month, log)
        assert apply(log)["keys"] == 0
        assert kinds(month, log) == before


def test_the_index_goes_after_its_own_days(month: Site) -> None:
    ancient, old = said(month, 70, end_user="amina"), said(month, 50, end_user="amina")
    with month.log() as log:
        assert apply(log)["index"] == 2
        for call in ancient:
            with pytest.raises(ReceiptNotFound):
                log.find(call.id, None)
        assert {content(month, log, call) for call in old} == {"erased"}
        assert rows(month, "calls") == rows(month, "subjects") == 2
        assert apply(log)["index"] == 0
        publish(log)
    assert check(month).found == []


def test_a_check_while_a_run_is_not_published_yet_finds_nothing_wrong(month: Site) -> None:
    said(month, 70)
    with month.log() as log:
        publish(log)
        assert apply(log)["index"] == 2
        checked = check(month)
        assert checked.published < checked.size, "the run's records are rows"
        assert checked.found == []


def test_a_missing_call_that_no_retention_explains_is_found(month: Site) -> None:
    calls = said(month, 20)
    with month.log() as log:
        publish(log)
    with month.database().write() as connection:
        connection.execute(text("DELETE FROM calls WHERE call = :call"), {"call": calls[0].id})
        connection.execute(text("DELETE FROM contents WHERE call = :call"), {"call": calls[1].id})
    found = {(one.where, one.problem) for one in check(month).found}
    assert (f"call {calls[1].id}", "its contents are missing, and no erasure on record explains it") in found
    assert any(where == f"call {calls[0].id}" and "index of calls" in told for where, told in found)


def test_what_is_held_outlives_its_class_until_two_persons_lift_the_hold(month: Site) -> None:
    first, second, third = said(month, 70, 3)
    with month.log() as log:
        held = hold(log, second)
        done = apply(log)
        assert (done["keys"], done["calls"], done["index"], done["held"]) == (0, 2, 2, [held])
        assert content(month, log, second) == "verified"
        for call in (first, third):
            with pytest.raises(ReceiptNotFound):
                log.find(call.id, None)
        assert not lift(log, held, "user:amina")
        assert apply(log)["keys"] == 0
        assert lift(log, held, "user:joseph")
        done = apply(log)
        assert (done["keys"], done["index"]) == (1, 1)
        assert rows(month, "calls") == rows(month, "contents") == 0
        publish(log)
    assert check(month).found == []


def test_a_hold_that_comes_while_a_run_deletes_is_kept(month: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, kept = said(month, 70)
    announce = retaining.Retainer._announce
    with month.log() as log:
        held: list[str] = []

        def meanwhile(self: Retainer, action: ApplyRetention, some: Any, *rest: Any) -> None:
            announce(self, action, some, *rest)
            if isinstance(some[0], retaining.DueIndex) and not held:
                held.append(hold(log, kept))

        monkeypatch.setattr(retaining.Retainer, "_announce", meanwhile)
        assert apply(log)["keys"] == 1
        assert held
        assert content(month, log, kept) == "erased", "its index is there"
        with pytest.raises(ReceiptNotFound):
            log.find(gone.id, None)


def test_a_held_project_is_passed_over_whole(month: Site) -> None:
    calls = said(month, 70)
    with month.log() as log:
        held = hold(log, project=PROJECT)
        done = apply(log)
        assert (done["keys"], done["calls"], done["index"], done["held"]) == (0, 0, 0, [held])
        assert {content(month, log, call) for call in calls} == {"verified"}


def test_a_dry_run_says_what_is_due_and_changes_nothing(month: Site) -> None:
    calls = said(month, 40)
    with month.log() as log:
        before = kinds(month, log)
        due = msgspec.json.decode(log.keep(RetentionDue(now_ms())))
        assert [(one["project"], one["class"], one["keys"]) for one in due["content"]] == [
            (PROJECT, "month", 1)
        ]
        assert {content(month, log, call) for call in calls} == {"verified"}
        assert kinds(month, log) == before


def test_what_was_promised_when_it_was_said_is_kept_though_the_project_has_another_class_now(
    month: Site,
) -> None:
    calls = said(month, 40)
    give(month, PROJECT, "for-ever")
    later = said(month, 39)
    with month.log() as log:
        done = apply(log)
        assert done["keys"] == 1
        assert done["undefined"] == ["for-ever"]
        assert {content(month, log, call) for call in calls} == {"erased"}
        assert {content(month, log, call) for call in later} == {"verified"}


def test_a_stricter_class_holds_for_what_is_there_already(site: Site) -> None:
    calls = said(site, 40)
    give(site, PROJECT, "month")
    with site.log() as log:
        define(log, "month", 30)
        assert apply(log)["keys"] == 1
        assert {content(site, log, call) for call in calls} == {"erased"}


def test_a_held_call_that_is_erased_later_has_the_proof_of_its_own_erasure(month: Site) -> None:
    old, older = said(month, 40, 1), said(month, 45, 1)
    with month.log() as log:
        held = hold(log, older[0])
        apply(log)
        lift(log, held, "user:amina")
        lift(log, held, "user:joseph")
        log.erase(erasure("call", older[0].id))
        assert [content(month, log, call) for call in (*old, *older)] == ["erased", "erased"]


@pytest.mark.parametrize("step", ["_rows.drop", "_vault.destroy_buckets"])
def test_a_run_that_a_crash_interrupts_is_finished_on_opening(month: Site, step: str) -> None:
    calls = said(month, 40)
    with month.log() as log:
        holder: object = log._eraser
        *path, name = step.split(".")
        for part in path:
            holder = getattr(holder, part)

        def crash(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        setattr(holder, name, crash)
        with pytest.raises(KeyboardInterrupt):
            apply(log)
    with month.log() as log:
        assert {content(month, log, call) for call in calls} == {"erased"}
        assert kinds(month, log)["content.erased"] == 1
        assert rows(month, "contents") == 0
    assert check(month).found == []


def test_records_of_many_projects_stay_within_a_records_size(
    month: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects = [f"project-{n}" for n in range(2, 7)]
    for project in projects:
        give(month, project, "month")
    calls = [said(month, 40, 1, project)[0] for project in projects]
    monkeypatch.setattr(retaining, "MOST_NAMED", 2)
    with month.log() as log:
        epochs = {project: ((0, f"{n:032x}"),) for n, project in enumerate(projects)}
        log.keep(ApplyRetention("retention_1", "b" * 32, now_ms(), epochs))
        assert kinds(month, log)["retention.applied"] == 3
        assert rows(month, "contents") == 0
    assert len(calls) == 5


def test_what_was_done_is_answered_though_the_classes_can_not_be_read_at_that_moment(
    month: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with month.log() as log:

        def gone() -> None:
            raise OperationalError("SELECT", {}, Exception("the database has just gone"))

        monkeypatch.setattr(log, "_learn_classes", gone)
        define(log, "week", 7, 14)
        assert kinds(month, log)["admin.retention_class"] == 2
