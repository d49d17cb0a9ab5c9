"""Publication: what is committed becomes tiles, entry bundles and a signed checkpoint.

About once a second, and at once when someone waits for it, the publisher reads the rows that came since,
writes their tiles and bundles, makes them durable, and only then signs and replaces the checkpoint. So a
root is signed only for what is committed, and a checkpoint appears only after all it covers. A failed
publication is tried again each second until it succeeds; meanwhile `failure` holds the reason.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

from regalia.errors import AuditUnavailable, RegaliaError
from regalia.ledger.errors import LogDamaged
from regalia.ledger.folder import LogFolder
from regalia.ledger.journal import Published
from regalia.ledger.keys import Signer
from regalia.ledger.statements import statements_for
from regalia.ledger.tree import Edge, Tile
from regalia.storage import Database
from regalia_verify.checkpoint import Checkpoint
from regalia_verify.merkle import leaf_hash
from regalia_verify.tiles import TILE_WIDTH

INTERVAL_S = 1.0

Waiter = tuple[int, "asyncio.Future[Published]"]


class Publisher:
    """The one thread that writes the log folder. `published` is the newest durable checkpoint."""

    def __init__(
        self,
        database: Database,
        folder: LogFolder,
        signer: Signer,
        edge: Edge,
        published: Published,
        *,
        origin: str,
        clock: Callable[[], int],
        on_published: Callable[[Published], None],
        on_tick: Callable[[], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._database = database
        self._sql = statements_for(database)
        self._folder = folder
        self._signer = signer
        self._edge = edge  # of the published tree; owned by the thread
        self._origin = origin
        self._clock = clock
        self._on_published = on_published
        self._on_tick = on_tick
        self._interval_s = interval_s
        self._connection: Any = None  # owned by the thread
        self._wake = Event()
        self._closing = False
        self._waiters: list[Waiter] = []  # guarded by _lock
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="regalia-publisher", daemon=True)
        self.published = published
        self.failure: str | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def wait_for(self, size: int, future: "asyncio.Future[Published]") -> None:
        """Publish at once; the future gets the first checkpoint of at least `size` entries."""
        with self._lock:
            self._waiters.append((size, future))
        self._wake.set()

    def close(self) -> None:
        """Publish once more, then end."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            closing = self._closing
            try:
                self._on_tick()
                self._publish()
                self.failure = None
            except (RegaliaError, OSError) as error:
                self.failure = f"the log can't be published: {error}"
            except Exception as error:  # a defect of ours must stop answers too, not only this thread
                self.failure = f"the log can't be published: {type(error).__name__}: {error}"
            if self.failure is not None or closing:
                self._disconnect()
            self._release()
            if closing:
                return

    def _publish(self) -> None:
        """Bring the folder to what is committed. Nothing is kept of an attempt that fails."""
        size = self._committed_size()
        if size < self._edge.size:
            raise LogDamaged(f"the database has {size} entries, {self._edge.size} are published")
        if size == self._edge.size and self.failure is None:
            return
        edge = self._edge.copy()
        full = self._write_entries(edge, size)
        for tile in edge.partial_tiles():
            self._folder.write_tile(tile.level, tile.n, tile.hashes)
        self._folder.sync()
        checkpoint = Checkpoint(self._origin, size, edge.root())
        note = self._signer.sign(checkpoint, self._clock() // 1000)
        self._folder.write_checkpoint(note)
        self._edge = edge
        self.published = Published(size, checkpoint.root, note)
        self._on_published(self.published)
        for tile in full:
            self._folder.drop_partial(tile.level, tile.n)

    def _write_entries(self, edge: Edge, size: int) -> list[Tile]:
        """Append the committed entries to the edge, writing bundles and full tiles; returns the latter."""
        full: list[Tile] = []
        while edge.size < size:
            bundle = edge.size // TILE_WIDTH
            entries = self._entries(bundle * TILE_WIDTH, min(size, (bundle + 1) * TILE_WIDTH))
            hashes = [leaf_hash(entry) for entry in entries]
            known = edge.leaves()
            if hashes[: len(known)] != known:
                raise LogDamaged(f"a row between {bundle * TILE_WIDTH} and {edge.size} has changed")
            self._folder.write_entries(bundle, entries)
            for tile in edge.append(hashes[len(known) :]):
                self._folder.write_tile(tile.level, tile.n, tile.hashes)
                full.append(tile)
            time.sleep(0)  # let go of the interpreter: event loops come first
        return full

    def _entries(self, start: int, end: int) -> list[bytes]:
        entries = [row[0] for row in self._select(self._sql.leaves, (start, end))]
        if len(entries) != end - start:
            raise LogDamaged(f"the database holds {len(entries)} of the entries {start} to {end - 1}")
        return entries

    def _committed_size(self) -> int:
        return int(self._select(self._sql.head, ())[0][0])

    def _select(self, sql: str, parameters: tuple[int, ...]) -> list[tuple[Any, ...]]:
        """All rows of a query, on a connection of our own that is replaced after a failure."""
        if self._connection is None:
            self._connection = self._database.driver_connection()
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be broken: that is why it goes
                connection.close()

    def _release(self) -> None:
        """Resolve those whose entry is published now, or all, if publication fails."""
        with self._lock:
            ready = [w for w in self._waiters if self.failure is not None or w[0] <= self.published.size]
            self._waiters = [w for w in self._waiters if w not in ready]
        for _, future in ready:
            try:
                future.get_loop().call_soon_threadsafe(_resolve, future, self.published, self.failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue


def _resolve(future: "asyncio.Future[Published]", published: Published, failure: str | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(published)
    else:
        future.set_exception(AuditUnavailable(failure))
