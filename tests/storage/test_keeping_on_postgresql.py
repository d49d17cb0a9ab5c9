"""Holds, retention and erasures on PostgreSQL, where one process places what another one must respect."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keeping_kit import apply, check, content, define, erasure, give, hold, lift, said
from ledger_kit import PROJECT, Site, publish
from regalia.clock import now_ms
from regalia.ledger import ReceiptNotFound
from regalia.ledger.log import Log
from regalia.storage import open_database, upgrade
from regalia.vault import HOUR_MS, ErasureUnderWay
from regalia.vault.retention import Held

pytestmark = pytest.mark.needs("postgres")


class Shared(Site, frozen=True):
    """A data directory whose database is PostgreSQL."""

    database_url: str = ""

    @property
    def url(self) -> str:
        return self.database_url


@pytest.fixture
def site(postgresql: Callable[[], str], tmp_path: Path) -> Shared:
    url = postgresql()
    upgrade(open_database(url))
    return Shared(Site.make(tmp_path / "d").data_dir, url)


def test_what_one_process_holds_no_other_deletes(site: Shared) -> None:
    give(site, PROJECT, "month")
    ancient, old, new = said(site, 70, 3, end_user="amina"), said(site, 40), said(site, 2, end_user="amina")
    with site.log("one") as one, site.log("two") as two:
        define(one, "month", 30, 60)
        held = hold(two, ancient[0])
        done = apply(one)
        assert (done["keys"], done["calls"], done["index"], done["held"]) == (1, 2, 2, [held])
        assert [content(site, two, call) for call in (ancient[0], *old, *new)] == [
            "verified", "erased", "erased", "verified", "verified",
        ]  # fmt: skip
        with pytest.raises(ReceiptNotFound):
            two.find(ancient[1].id, None)
        with pytest.raises(Held, match=held):
            one.erase(erasure("call", ancient[0].id))
        assert held in one.erase(erasure("end-user", "amina"))
        assert {content(site, one, call) for call in new} == {"erased"}
        assert not lift(one, held, "user:amina")
        assert lift(two, held, "user:joseph")
        assert (apply(two)["keys"], content_is_gone(two, ancient[0].id)) == (1, True)
        publish(one)
        publish(two)
    assert check(site).found == []


def order(site: Shared) -> dict[tuple[str, str], int]:
    """Where in the log each call was erased and held."""
    with site.database().read() as connection:
        rows = connection.exec_driver_sql("SELECT idx, leaf FROM entries ORDER BY idx").all()
    records = [(index, json.loads(bytes(leaf))) for index, leaf in rows]
    wanted = ("content.erased", "hold.placed")
    return {
        (record["kind"], call): index
        for index, record in records
        if record["kind"] in wanted
        for call in record.get("calls", ())
    }


def content_is_gone(log: Log, call: str) -> bool:
    try:
        log.find(call, None)
    except ReceiptNotFound:
        return True
    return False


def test_holds_and_erasures_that_meet_are_ordered_by_the_log(site: Shared) -> None:
    """Whatever comes first: nothing is erased on record after a hold on it is on record."""
    calls = said(site, 2, 12)
    outcomes: dict[str, str] = {}
    with site.log("one") as one, site.log("two") as two:

        def erase() -> None:
            for call in calls:
                try:
                    one.erase(erasure("call", call.id))
                    outcomes[call.id] = "erased"
                except (Held, ErasureUnderWay):
                    outcomes[call.id] = "verified"

        eraser = threading.Thread(target=erase)
        eraser.start()
        for call in reversed(calls):
            hold(two, call)
        eraser.join()
        assert [content(site, one, call) for call in calls] == [outcomes[call.id] for call in calls]
        recorded = order(site)
        for call in calls:
            if outcomes[call.id] == "erased":
                assert recorded["content.erased", call.id] < recorded["hold.placed", call.id]
        with pytest.raises(Held):
            one.erase(erasure("before", before=now_ms() + HOUR_MS))
        publish(one)
    assert check(site).found == []
