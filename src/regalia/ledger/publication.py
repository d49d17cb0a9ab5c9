"""Publication: what is committed becomes entry bundles, tiles and a signed checkpoint.

A root is signed only for what is committed, and the checkpoint is replaced only after all files it covers
are durable. So whatever fails on the way, the folder still holds a complete, older log, and the next
attempt begins where that one ends.
"""

import time
from collections.abc import Callable

from regalia.ledger.errors import LogDamaged
from regalia.ledger.folder import LogFolder
from regalia.ledger.journal import Published
from regalia.ledger.keys import Signer
from regalia.ledger.reader import Reader
from regalia.ledger.tree import Edge, Tile
from regalia.storage import Database
from regalia_verify.checkpoint import Checkpoint
from regalia_verify.merkle import leaf_hash
from regalia_verify.tiles import TILE_WIDTH


class Publication:
    """Writes the log folder. Owned by one thread; `published` may be read by any."""

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
    ) -> None:
        self._reader = Reader(database)
        self._folder = folder
        self._signer = signer
        self._edge = edge  # of the published tree
        self._origin = origin
        self._clock = clock
        self.published = published

    def publish(self, *, again: bool = False) -> None:
        """Bring the folder to what is committed.

        With `again`, signs and writes even if nothing came since, to learn whether that works. Raises
        OSError, KeyUnusable, LogDamaged or the database's error; then nothing counts as published.
        """
        try:
            self._publish(again)
        except BaseException:
            self._reader.close()  # the next attempt starts on a new connection
            raise

    def close(self) -> None:
        """End; what is being written is awaited."""
        self._reader.close()
        self._folder.close()

    def _publish(self, again: bool) -> None:
        size = int(self._reader.select(self._reader.sql.head)[0][0])
        if size < self._edge.size:
            raise LogDamaged(f"the database has {size} entries, {self._edge.size} are published")
        if size == self._edge.size and not again:
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
            time.sleep(0)  # let go of the interpreter: commits come first
        return full

    def _entries(self, start: int, end: int) -> list[bytes]:
        entries = [row[0] for row in self._reader.select(self._reader.sql.leaves, start, end)]
        if len(entries) != end - start:
            raise LogDamaged(f"the database holds {len(entries)} of the entries {start} to {end - 1}")
        return entries
