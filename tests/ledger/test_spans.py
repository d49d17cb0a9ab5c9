"""All contents of a bucket are found, wherever in the log they are, and whatever was rolled back before."""

import random
import threading
from typing import Any

from regalia.ledger.contents import ContentRow
from regalia.ledger.spans import Spans, in_bucket, note, outside, widen
from regalia.ledger.statements import statements_for
from regalia.storage import Database

EDGES = (0, 1, 1023, 1024, 65_535, 65_536, 131_071, 200_000, 1_000_000)


class Writer:
    """Writes contents as a batch does, through one connection."""

    def __init__(self, database: Database) -> None:
        self._sql = statements_for(database)
        self._cursor: Any = database.driver_connection().cursor()
        self._spans = Spans(self._sql)

    def write(self, rows: list[tuple[int, int]], end: str = "COMMIT") -> None:
        """Rows, each by its index and bucket."""
        contents: list[ContentRow] = [(at, 1, f"call_{at}", "admitted", of, b"", b"") for at, of in rows]
        self._cursor.execute(self._sql.begin)
        self._spans.begin()
        self._cursor.executemany(self._sql.insert_content, contents)
        self._spans.note(self._cursor, contents)
        self._cursor.execute(end)
        if end == "COMMIT":
            self._spans.committed()

    def close(self) -> None:
        self._cursor.connection.close()


def found(database: Database, bucket: int, most: int = 10_000) -> list[int]:
    """Where a bucket's contents are."""
    with database.read() as connection:
        query = in_bucket("contents.idx")
        return sorted(connection.execute(query, {"bucket": bucket, "most": most}).scalars())


def test_a_bucket_is_found_whole_and_alone(database: Database) -> None:
    writer, chance = Writer(database), random.Random(4)
    written: dict[int, list[int]] = {}
    indices = sorted({*EDGES, *(chance.randrange(300_000) for _ in range(400))})
    while indices:
        batch = [(indices.pop(0), chance.randrange(1, 9)) for _ in range(min(len(indices), 20))]
        if chance.random() < 0.3:
            writer.write(batch, "ROLLBACK")  # what it had noted is noted again
        writer.write(batch)
        for index, bucket in batch:
            written.setdefault(bucket, []).append(index)
        if chance.random() < 0.2:  # another process goes on, which knows of nothing that was noted
            writer.close()
            writer = Writer(database)
    writer.close()
    for bucket in range(1, 9):
        assert found(database, bucket) == written[bucket]
        assert len(found(database, bucket, most=5)) == 5
    assert found(database, 99) == []


def test_what_moves_to_another_bucket_is_found_there(database: Database) -> None:
    writer = Writer(database)
    writer.write([(index, 1) for index in EDGES])
    writer.close()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE contents SET bucket = 2 WHERE idx > 1000")
        note(connection, [(index, 2) for index in EDGES if index > 1000])
    assert found(database, 1) == [0, 1]
    assert found(database, 2) == [index for index in EDGES if index > 1000]


def missed(database: Database, most: int = 100) -> list[tuple[int, int, int]]:
    """What is outside of the noted spans."""
    with database.read() as connection:
        return outside(connection, most)


def test_what_a_span_hides_is_named_and_found_again_once_it_is_widened(database: Database) -> None:
    damages = {
        "DELETE FROM bucket_spans WHERE bucket = 1": [(1, 0, 9)],
        "UPDATE bucket_spans SET first = 1 WHERE bucket = 1": [(1, 0, 3)],
        "UPDATE bucket_spans SET last = 63 WHERE bucket = 1": [(1, 65_536, 4)],
        "UPDATE bucket_spans SET first = 64, last = 127 WHERE bucket = 1": [(1, 0, 7)],
        "UPDATE bucket_spans SET first = 900, last = 20 WHERE bucket = 1": [(1, 0, 9)],
        "DELETE FROM bucket_spans": [(1, 0, 9), (2, 70_000, 1)],
    }
    writer = Writer(database)
    writer.write([*((index, 1) for index in EDGES), (70_000, 2)])
    writer.close()
    for damage, told in damages.items():
        assert missed(database) == []
        with database.write() as connection:
            connection.exec_driver_sql(damage)
        assert missed(database) == told
        assert missed(database, most=1) == told[:1]
        assert len(found(database, 1)) < len(EDGES)
        with database.write() as connection:
            widen(connection)
        assert missed(database) == []
        assert found(database, 1) == list(EDGES)
        assert found(database, 2) == [70_000]


def test_beside_a_writer_nothing_is_taken_for_hidden(database: Database) -> None:
    def write() -> None:
        writer = Writer(database)
        for step in range(60):
            writer.write([(step << 16, step % 3), ((step << 16) + 1, 100 + step)])
        writer.close()

    assert missed(database) == []
    thread = threading.Thread(target=write)
    thread.start()
    seen = [missed(database)]
    while thread.is_alive():
        seen.append(missed(database))
    thread.join()
    assert not any(seen)
    assert found(database, 0) == [step << 16 for step in range(0, 60, 3)]
