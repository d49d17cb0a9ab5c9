"""A commit that PostgreSQL made, and whose answer never came: what nobody heard of must end, too."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger_kit import ORIGIN, Call, Site
from postgresql_kit import running_cluster
from regalia.errors import AuditUnavailable
from regalia.ledger import Ledger
from regalia.storage import Database, open_database, upgrade

PORT = ".s.PGSQL.5432"

pytestmark = pytest.mark.needs("postgres")


class Relay:
    """Between the ledger and PostgreSQL; loses the answer of a commit whose transaction names `lose`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.lose: bytes | None = None
        self._deaf: set[socket.socket] = set()
        self._server = str(server / PORT)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / PORT))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            for relay in (self._requests, self._answers):
                threading.Thread(target=relay, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        named = False
        with suppress(OSError):  # the other direction has ended
            while data := client.recv(1 << 16):
                named = named or (self.lose is not None and self.lose in data)
                if named and b"COMMIT" in data:
                    self.lose = None
                    self._deaf.add(client)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while (data := server.recv(1 << 16)) and client not in self._deaf:
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the other direction


@pytest.fixture
def relayed(needs: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Site, Database, Relay]]:
    """A data directory, and a database that is reached through a relay."""
    with running_cluster(needs("postgres")) as cluster:
        folder = cluster.folder / "relay"  # short: it holds a socket
        folder.mkdir()
        url = cluster.fresh()
        upgrade(open_database(url))
        relay = Relay(folder, cluster.folder)
        yield Site.make(tmp_path / "d"), open_database(f"{url}/relay"), relay
        relay.close()


def outcomes(database: Database, call: Call) -> list[int | None]:
    """The call's outcome, None while it is open; nothing if it was never admitted."""
    with database.read() as connection:
        return list(
            connection.scalars(text("SELECT outcome FROM calls WHERE call = :call"), {"call": call.id})
        )


@pytest.mark.parametrize("cut", ["admission", "outcome"])
async def test_a_call_whose_record_was_committed_unheard_gets_one_outcome(
    relayed: tuple[Site, Database, Relay], cut: str
) -> None:
    site, database, relay = relayed
    call = Call.new()
    ledger = await Ledger.open(site.data_dir, database, process="test", origin=ORIGIN, keys=site.keys)
    if cut == "outcome":
        await ledger.append(call.admission())
    relay.lose = call.id.encode()
    with pytest.raises(AuditUnavailable):
        await ledger.append(call.admission() if cut == "admission" else call.outcome())
    assert relay.lose is None
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
