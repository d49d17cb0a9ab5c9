"""A commit that PostgreSQL made, and whose answer never came: what nobody heard of must end, too."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger_kit import ORIGIN, Call, Site
from postgresql_kit import running_cluster
from postgresql_relay import Relay, relayed
from regalia.errors import AuditUnavailable
from regalia.ledger import Ledger
from regalia.storage import Database, open_database, upgrade

pytestmark = pytest.mark.needs("postgres")


@pytest.fixture
def behind(needs: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Site, Database, Relay]]:
    """A data directory, and a database that is reached through a relay."""
    with running_cluster(needs("postgres")) as cluster:
        url = cluster.fresh()
        upgrade(open_database(url))
        with relayed(url) as (through, relay):
            yield Site.make(tmp_path / "d"), open_database(through), relay


def outcomes(database: Database, call: Call) -> list[int | None]:
    """The call's outcome, None while it is open; nothing if it was never admitted."""
    with database.read() as connection:
        return list(
            connection.scalars(text("SELECT outcome FROM calls WHERE call = :call"), {"call": call.id})
        )


@pytest.mark.parametrize("cut", ["admission", "outcome"])
async def test_a_call_whose_record_was_committed_unheard_gets_one_outcome(
    behind: tuple[Site, Database, Relay], cut: str
) -> None:
    site, database, relay = behind
    call = Call.new()
    ledger = await Ledger.open(site.data_dir, database, process="test", origin=ORIGIN, keys=site.keys)
    if cut == "outcome":
        await ledger.append(call.admission())
    relay.lose(call.id)
    with pytest.raises(AuditUnavailable):
        await ledger.append(call.admission() if cut == "admission" else call.outcome())
    assert relay.lost
    assert outcomes(database, call), "PostgreSQL has not committed what it was sent"
    deadline = time.monotonic() + 60
    while outcomes(database, call) == [None]:
        assert time.monotonic() < deadline, "the call stays open"
        await asyncio.sleep(0.05)
    later = Call.new()
    await ledger.append(later.admission())
    await ledger.append(later.outcome())
    await ledger.close()
    kinds = site.verify(closed=True).history.kinds
    assert kinds["call.aborted"] == (1 if cut == "admission" else 0)
