"""All entries of the log, in order, as one moment of the database and the published files give them."""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from regalia.ledger.errors import LogDamaged
from regalia.storage.schema.log import entries, log_state
from regalia_verify.errors import FormatError
from regalia_verify.source import TILE_WIDTH, entries_path, parse_bundle

_CHUNK = 1024


def one_moment(connection: Connection) -> None:
    """Have everything that this transaction reads be of one moment. Call it first."""
    if connection.dialect.name != "sqlite":  # there every transaction is
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def all_entries(connection: Connection, folder: Path, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each entry from `first` on, with its index: full bundles from the files, the rest from the rows.

    Raises LogDamaged where one is missing.
    """
    size = int(connection.execute(select(log_state.c.size)).scalar_one())
    oldest = connection.execute(select(func.min(entries.c.idx))).scalar()
    rows_from = size if oldest is None else int(oldest)
    yield from _bundled(folder, first, rows_from)
    expected = max(first, rows_from)
    while expected < size:
        query = select(entries.c.idx, entries.c.leaf).order_by(entries.c.idx).limit(_CHUNK)
        found = connection.execute(query.where(entries.c.idx >= expected, entries.c.idx < size)).all()
        for row in found:
            if row.idx != expected:
                break
            yield expected, bytes(row.leaf)
            expected += 1
        else:
            if found:
                continue
        raise LogDamaged(f"entry {expected} of {size} is missing from the database: run `regalia log fsck`")


def last_entries(
    connection: Connection, folder: Path, before: int | None, count: int
) -> list[tuple[int, bytes]]:
    """At most `count` entries below the index `before` (None: all), the newest first. Raises LogDamaged."""
    size = int(connection.execute(select(log_state.c.size)).scalar_one())
    end = size if before is None else min(before, size)
    found = all_entries(connection, folder, max(0, end - count))
    return list(takewhile(lambda entry: entry[0] < end, found))[::-1]


def _bundled(folder: Path, first: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Entries whose rows have left the database: their bundles are full."""
    for number in range(first // TILE_WIDTH, (end + TILE_WIDTH - 1) // TILE_WIDTH):
        path = folder / entries_path(number)
        try:
            bundle = parse_bundle(path.read_bytes())
        except (OSError, FormatError) as error:
            raise LogDamaged(f"{path} can't be read: {error}") from error
        for index, entry in enumerate(bundle, number * TILE_WIDTH):
            if first <= index < end:
                yield index, entry
