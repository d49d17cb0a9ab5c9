"""Before a log goes on: does the database continue exactly what was published? If not, halt; never fork.

Reads the row of the head, at most 255 rows and the right-edge tiles, so a long log opens as fast as a
short one.
"""

from pathlib import Path

import msgspec
from sqlalchemy import func, select

from regalia.ledger.errors import KeyUnusable, LogDamaged, LogWouldFork
from regalia.ledger.folder import LogFolder
from regalia.ledger.journal import Published
from regalia.ledger.keys import LogKeys
from regalia.ledger.tree import Edge
from regalia.storage import Database
from regalia.storage.schema import entries, log_state
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.merkle import EMPTY_ROOT, leaf_hash
from regalia_verify.note import Checkpoint, SignedNote, verify
from regalia_verify.source import TILE_WIDTH


class _Opened(msgspec.Struct):
    """What matters here of `log.opened`."""

    origin: str


REMEDY = (
    "Nothing was changed. Bring back the newest database and log folder, both from the same moment: "
    "a log that goes on from an older state would contradict receipts that were given out."
)


_HEAD = select(  # one statement, so one moment: others may be appending
    log_state,
    select(func.min(entries.c.idx)).scalar_subquery().label("oldest"),
    select(func.max(entries.c.idx)).scalar_subquery().label("newest"),
)


class LogStart:
    """What a ledger starts from: the published tree's edge and checkpoint, and the committed size."""

    def __init__(self, edge: Edge, published: Published, size: int) -> None:
        self.edge = edge
        self.published = published
        self.size = size


def load(database: Database, folder: LogFolder, origin: str, keys: LogKeys) -> LogStart:
    """Read where the log stands; raise LogWouldFork or LogDamaged rather than start from doubt."""
    note = folder.read_checkpoint()  # before the database's head, which others may move meanwhile
    with database.read() as connection:
        head = connection.execute(_HEAD).one()
    oldest, newest = head.oldest, head.newest
    if head.size and newest != head.size - 1:
        raise LogDamaged(f"the database's newest entry is {newest}, expected {head.size - 1}. {REMEDY}")
    if note is None:
        if head.published_size:
            raise LogDamaged(
                f"{folder.root / 'checkpoint'} is missing, but {head.published_size} entries "
                f"have been published. {REMEDY}"
            )
        return LogStart(Edge(), Published(0, EMPTY_ROOT, ""), head.size)
    checkpoint = own_checkpoint(note, folder.root, origin, keys)
    if checkpoint.size > head.size:
        raise LogWouldFork(
            f"the published checkpoint has {checkpoint.size} entries, the database only {head.size}: "
            f"the database is older than the log. {REMEDY}"
        )
    edge = _edge(database, folder, checkpoint.size, oldest)
    if edge.root() != checkpoint.root:
        raise LogWouldFork(
            f"the published root at {checkpoint.size} entries is {checkpoint.root.hex()}, but database "
            f"and tiles give {edge.root().hex()}: they are not of this log. {REMEDY}"
        )
    return LogStart(edge, Published(checkpoint.size, checkpoint.root, note), head.size)


def check_origin(database: Database, origin: str) -> None:
    """Raise LogWouldFork where a shared database, which keeps all rows, holds another log."""
    with database.read() as connection:
        first = connection.execute(select(entries.c.leaf).where(entries.c.idx == 0)).scalar_one_or_none()
    found = None if first is None else msgspec.json.decode(first, type=_Opened).origin
    if found != origin:
        raise LogWouldFork(f"the database holds the log {found}, this data directory is of {origin}")


def own_checkpoint(note: str, root: Path, origin: str, keys: LogKeys) -> Checkpoint:
    """What a note says that the log's keys of its time have signed. Raises LogDamaged, KeyUnusable."""
    try:
        signed = SignedNote.parse(note)
        checkpoint = Checkpoint.parse(signed.text)
        for key in keys.at(checkpoint.size):
            by_key = [s for s in signed.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
            if not by_key:
                raise KeyUnusable(
                    f"{root / 'checkpoint'} is not signed with this instance's key "
                    f"{key.name}+{key.key_id.hex()}: bring back the log's own keys"
                )
            verify(signed.text, by_key[0], key)
    except (FormatError, NotVerified) as error:
        raise LogDamaged(f"{root / 'checkpoint'} is not what was signed: {error}. {REMEDY}") from error
    if checkpoint.origin != origin:
        raise LogDamaged(f"{root / 'checkpoint'} is of the log {checkpoint.origin}, not {origin}. {REMEDY}")
    return checkpoint


def _edge(database: Database, folder: LogFolder, size: int, oldest: int | None) -> Edge:
    """The right edge at `size`: leaves from the database, the levels above from their tiles."""
    start = size - size % TILE_WIDTH
    if oldest is None or oldest > start:
        raise LogDamaged(
            f"the log folder ends at {size} entries, but the database begins only at {oldest}: "
            f"the folder is older than the database. {REMEDY}"
        )
    query = select(entries.c.leaf).where(entries.c.idx >= start, entries.c.idx < size).order_by(entries.c.idx)

    def read(level: int, n: int, width: int) -> list[bytes]:
        if level:
            return folder.read_tile(level, n, width)
        with database.read() as connection:
            hashes = [leaf_hash(bytes(leaf)) for leaf in connection.execute(query).scalars()]
        if len(hashes) != width:
            raise LogDamaged(
                f"the database holds {len(hashes)} of the entries {start} to {size - 1}. {REMEDY}"
            )
        return hashes

    try:
        return Edge.load(size, read)
    except (OSError, FormatError) as error:
        raise LogDamaged(f"a tile at the log's right edge can't be read: {error}. {REMEDY}") from error
