"""The ledger's transaction on PostgreSQL: the row lock sequences, also between connections."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger_kit import Call, Site, event, receipt
from regalia.clock import now_ms
from regalia.ledger import LedgerInvariantError, neighbours
from regalia.ledger.contents import Contents, open_vault
from regalia.ledger.journal import Journal
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.storage import open_database, upgrade

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
def where(postgresql: Callable[[], str], tmp_path: Path) -> Where:
    site = Site.make(tmp_path / "d")
    url = postgresql()
    upgrade(open_database(url))
    return Where(site.data_dir, url, "test", site.where().origin, site.keys)


def test_append_publish_prove_and_go_on(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "GRACE_S", 0)
    site = Site(where.data_dir)
    call, open_call = Call.new(), Call.new()
    log = Log.open(where)
    assert log.append([call.admission(), call.outcome(), open_call.admission()]) == [1, 2, 3]
    results = log.append([call.outcome(), event(), call.admission()])
    assert isinstance(results[0], LedgerInvariantError)
    assert results[1] == 4
    assert isinstance(results[2], LedgerInvariantError)
    log.append([event(n) for n in range(600)])
    log.publish()
    assert log.publish_failure is None
    site.verify_receipt(receipt(log, call.id), call)
    log.close()
    log = Log.open(Where(where.data_dir, where.database_url, "later", where.origin, where.keys))
    assert log.size == 605
    log.publish()  # sees that the first one is gone
    assert log.size == 606
    log.close()
    assert site.verify(closed=True).history.kinds["call.aborted"] == 1


def test_journals_of_several_processes_share_one_sequence(where: Where) -> None:
    rounds, batch = 20, 7
    contents = Contents(open_vault(where.data_dir, open_database(where.database_url), ""), now_ms)

    def append(name: str, results: list[int]) -> None:
        journal = Journal(open_database(where.database_url), name, contents)
        for _ in range(rounds):
            calls = [Call.new() for _ in range(batch)]
            for entries in ([c.admission() for c in calls], [c.outcome() for c in calls]):
                results.extend(r for r in journal.append(entries) if isinstance(r, int))
        journal.close()

    results: list[list[int]] = [[], [], []]
    threads = [threading.Thread(target=append, args=(f"p{n}", result)) for n, result in enumerate(results)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = 3 * rounds * batch * 2
    assert sorted(index for result in results for index in result) == list(range(expected))
    database = open_database(where.database_url)
    with database.read() as connection:
        stored = connection.exec_driver_sql("SELECT idx FROM entries ORDER BY idx").scalars().all()
        assert list(stored) == list(range(expected))
        assert connection.exec_driver_sql("SELECT size FROM log_state").scalar_one() == expected
        late = "SELECT count(*) FROM calls WHERE outcome IS NULL OR outcome <= admitted"
        assert connection.exec_driver_sql(late).scalar_one() == 0


def test_a_lost_connection_is_replaced(where: Where) -> None:
    log = Log.open(where)
    database = open_database(where.database_url)
    with database.write() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    assert not isinstance(log.append([event()])[0], int)
    assert log.commit_failure is not None
    assert log.append([event()]) == [1]
    assert log.commit_failure is None
    log.publish()
    log.publish()
    assert log.publish_failure is None
    log.close()
