"""Calls of another day, classes, holds and runs of retention, for tests on a real log."""

import os
from typing import Any

import msgspec
from sqlalchemy import text

from ledger_kit import PROJECT, Call, Site, publish, receipt
from regalia.clock import call_ms, new_call_id, now_ms
from regalia.ledger.erasing import Erasure, Scope
from regalia.ledger.fsck import Checked, check_log
from regalia.ledger.holds import LiftHold, PlaceHold
from regalia.ledger.keeping import DefineClass
from regalia.ledger.log import Log
from regalia.ledger.retaining import ApplyRetention
from regalia.vault.retention import DAY_MS, RetentionClass
from regalia_verify.receipt import TlogProof, parse_extra, verify_receipt

PSEUDONYM = "0" * 32


def said(
    site: Site, days_ago: float, count: int = 2, project: str = PROJECT, end_user: str = ""
) -> list[Call]:
    """Calls that were admitted, answered and sealed some days ago."""
    ms = now_ms() - int(days_ago * DAY_MS)
    log = Log.open(site.where(), clock=lambda: ms)
    made = [dated(Call.new(project), ms) for _ in range(count)]
    for call in made:
        users = (end_user,) if end_user else ()
        log.append([msgspec.structs.replace(call.admission(), end_users=users), call.outcome()])
    log.close()
    return made


def dated(call: Call, ms: int) -> Call:
    """The call, admitted at another time."""
    return msgspec.structs.replace(call, id=new_call_id(ms, os.urandom(10)))


def give(site: Site, project: str, retention: str) -> None:
    """Let a project have a retention class."""
    with site.database().write() as connection:
        connection.execute(
            text(
                "INSERT INTO projects (id, organisation, name, ceiling, jurisdiction, retention, created, "
                "changed) VALUES (:id, 'default', :id, '', '', :retention, 0, 1) "
                "ON CONFLICT (id) DO UPDATE SET retention = excluded.retention"
            ),
            {"id": project, "retention": retention},
        )


def define(log: Log, name: str, content: int | None, index: int | None = None) -> None:
    """Define a retention class."""
    log.keep(DefineClass(RetentionClass(name, content, index), "b" * 32, now_ms()))


def apply(log: Log, *projects: str) -> dict[str, Any]:
    """A run of retention over these projects."""
    epochs = dict.fromkeys(projects or (PROJECT,), ((0, PSEUDONYM),))
    done = log.keep(ApplyRetention(f"retention_{os.urandom(4).hex()}", "b" * 32, now_ms(), epochs))
    return dict(msgspec.json.decode(done))


def hold(log: Log, *calls: Call, project: str = "", days: tuple[float, float] | None = None) -> str:
    """Place a hold; its id. `days` is a period in days before now, the older first."""
    now = now_ms()
    begins, ends = (now - int(ago * DAY_MS) for ago in days) if days else (None, None)
    wanted = PlaceHold(
        f"hold_{os.urandom(4).hex()}", "case 1", "user:amina", "a" * 32, now, project, (),
        tuple(call.id for call in calls), begins, ends,
    )  # fmt: skip
    return str(msgspec.json.decode(log.keep(wanted))["hold"])


def lift(log: Log, ident: str, actor: str) -> bool:
    """Take a step towards lifting a hold; whether it is lifted now."""
    return bool(msgspec.json.decode(log.keep(LiftHold(ident, actor, "c" * 32, now_ms())))["lifted"])


def erasure(scope: Scope, target: str = "", before: int = 0) -> Erasure:
    """An erasure to ask for."""
    name = "erasure_" + os.urandom(8).hex()
    return Erasure(name, scope, target, before, "GDPR 17(1)(b)", "b" * 32, now_ms(), (PSEUDONYM,))


def content(site: Site, log: Log, call: Call) -> str:
    """What the verifier says of a call's contents."""
    publish(log)
    found = receipt(log, call.id, call.project)
    if parse_extra(TlogProof.parse(found).extra or b"")[2] is None:
        return site.verify_receipt(found, call).content
    return verify_receipt(found, site.policy).content


def check(site: Site) -> Checked:
    """What `regalia log fsck` finds."""
    return check_log(site.data_dir, site.database(), "log.example/test", site.keys, "")


def admitted(call: Call) -> int:
    """When it was admitted."""
    return call_ms(call.id)
