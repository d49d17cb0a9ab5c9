"""A commit whose answer is lost: what `write()` raises was not made, and what it returns from was."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from postgresql_kit import Cluster, running_cluster
from postgresql_relay import Relay, relayed
from regalia.storage import CommitUnknown, Database, database, open_database

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture(scope="module")
def cluster(needs: Callable[[str], Path]) -> Iterator[Cluster]:
    """A server of its own, for one test stops it."""
    with running_cluster(needs("postgres")) as cluster:
        yield cluster


@pytest.fixture
def behind(cluster: Cluster) -> Iterator[tuple[Database, Database, Relay]]:
    """A database as it is reached directly, and through a relay."""
    url = cluster.fresh()
    direct = open_database(url)
    with direct.write() as connection:
        connection.execute(text("CREATE TABLE said (word text)"))
    with relayed(url) as (through, relay):
        database = open_database(through)
        yield direct, database, relay
        database.close()
    direct.close()


def say(database: Database, word: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO said VALUES (:word)"), {"word": word})


def said(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT word FROM said")).scalars())


def test_what_was_committed_unheard_counts_as_made(behind: tuple[Database, Database, Relay]) -> None:
    direct, database, relay = behind
    relay.lose("kilimo")
    say(database, "kilimo")
    assert relay.lost
    assert said(direct) == ["kilimo"]
    say(database, "maji")
    assert said(direct) == ["kilimo", "maji"]


def test_what_never_reached_the_server_is_raised(behind: tuple[Database, Database, Relay]) -> None:
    direct, database, relay = behind
    relay.lose("kilimo", "before")
    with pytest.raises(OperationalError):
        say(database, "kilimo")
    assert relay.lost
    assert said(direct) == []


def test_a_server_that_restarts_is_asked_when_it_is_back(
    cluster: Cluster, behind: tuple[Database, Database, Relay]
) -> None:
    direct, through, relay = behind
    assert said(through) == []
    relay.lose("kilimo")
    relay.close()  # who is connected stays so; nobody else comes in

    def restart() -> None:
        while not relay.lost:
            time.sleep(0.01)
        cluster.stop()
        cluster.start()
        relay.open()

    thread = threading.Thread(target=restart, daemon=True)
    thread.start()
    say(through, "kilimo")
    thread.join()
    direct.close()
    assert said(direct) == ["kilimo"]


def test_a_server_that_does_not_come_back_leaves_it_unknown(
    cluster: Cluster, behind: tuple[Database, Database, Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, through, relay = behind
    assert said(through) == []
    monkeypatch.setattr(database, "ANSWER_S", 0.3)
    relay.lose("kilimo")
    relay.close()  # whoever connects anew finds nobody
    with pytest.raises(CommitUnknown, match=re.escape("has not said")):
        say(through, "kilimo")
