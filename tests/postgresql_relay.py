"""Stands between a client and PostgreSQL, and breaks the connection at a commit that a test names."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import make_url

PORT = ".s.PGSQL.5432"

Broken = Literal["before", "after"]
"""Whether PostgreSQL still gets the commit whose answer nobody hears."""


class Relay:
    """A socket in `folder`, relayed to the one in `server`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._naming: bytes | None = None
        self._broken: Broken = "after"
        self._deaf: set[socket.socket] = set()
        self._server = str(server / PORT)
        self._place = folder / PORT
        self.open()

    def open(self) -> None:
        """Let clients in; those of before that were closed out may come again."""
        self._place.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._place))
        self._socket.listen()
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def lose(self, naming: str, broken: Broken = "after") -> None:
        """Break the connection at the next commit of a transaction in which these letters occur."""
        self._broken, self._naming = broken, naming.encode()

    @property
    def lost(self) -> bool:
        """Whether that has happened."""
        return self._naming is None

    def close(self) -> None:
        """Let nobody else in; who is connected stays so."""
        with suppress(OSError):  # it is closed
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
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
                named = named or (self._naming is not None and self._naming in data)
                if named and b"COMMIT" in data:
                    self._naming = None
                    self._deaf.add(client)
                    if self._broken == "before":
                        break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while (data := server.recv(1 << 16)) and client not in self._deaf:
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)  # closing it would wait for the other direction


@contextmanager
def relayed(url: str) -> Iterator[tuple[str, Relay]]:
    """The URL by which the same database is reached through a relay."""
    named = make_url(url)
    server = Path(str(named.query["host"]))
    folder = server / str(named.database)  # short: it holds a socket
    folder.mkdir()
    relay = Relay(folder, server)
    try:
        yield named.update_query_dict({"host": str(folder)}).render_as_string(), relay
    finally:
        relay.close()
