"""Cosignatures are attached by whichever process was given them, whoever published the checkpoint."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ledger_kit import Call, Site, publish
from postgresql_kit import running_cluster
from regalia.ledger.log import Log
from regalia.storage import open_database, upgrade

COSIGNATURE = "\u2014 witness.example/1 " + "A" * 100 + "\n"

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
def logs(needs: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Log, Log]]:
    """Two processes' hold on one log in one folder."""
    site = Site.make(tmp_path / "d")
    with running_cluster(needs("postgres")) as cluster:
        url = cluster.fresh()
        upgrade(open_database(url))
        where = msgspec.structs.replace(site.where("one"), database_url=url)
        opened = Log.open(where), Log.open(msgspec.structs.replace(where, process="two"))
        yield opened
        for log in opened:
            log.close()


def test_both_processes_give_witnessed_receipts_of_what_one_has_published(logs: tuple[Log, Log]) -> None:
    first, second = logs
    call = Call.new()
    first.append([call.admission(), call.outcome()])
    cosigned = publish(first).note + COSIGNATURE
    assert second.published.size < first.published.size
    second.attach(cosigned)  # which another process has published
    first.attach(cosigned)  # to which another process has attached it already
    for log in logs:
        found = log.find(call.id, call.project)
        assert log.prove(found, log.published_for(found.newest)).endswith(COSIGNATURE)
