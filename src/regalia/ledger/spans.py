"""Where in the log the contents of a bucket are: what erasing it looks through.

The log is cut into blocks of 1,024 entries, and `contents` is indexed by block and bucket: so the records of
a batch come to lie beside each other in the index, whosever they are. To find all of a bucket, its blocks are
gone through. Which they are is noted with its first record in each 64 of them, in the record's own
transaction: a bucket never has contents outside of its noted span.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, TextClause, text

from regalia.ledger.statements import Statements

if TYPE_CHECKING:
    from regalia.ledger.contents import ContentRow

BLOCK_BITS = 10
SPAN_BITS = 16
"""A span is noted in steps of so many entries, 64 blocks."""
MAX_NOTED = 100_000

_PER_SPAN = 1 << (SPAN_BITS - BLOCK_BITS)
_IN_BUCKET = (
    "WITH RECURSIVE blocks (block, last) AS (SELECT first, last FROM bucket_spans WHERE bucket = :bucket "
    "UNION ALL SELECT block + 1, last FROM blocks WHERE block < last) "
    "SELECT {columns} FROM blocks CROSS JOIN contents "
    f"WHERE (contents.idx >> {BLOCK_BITS}) = blocks.block AND contents.bucket = :bucket LIMIT :most"
)
_WIDENING = (
    "ON CONFLICT (bucket) DO UPDATE SET "
    "first = CASE WHEN excluded.first < bucket_spans.first THEN excluded.first ELSE bucket_spans.first END, "
    "last = CASE WHEN excluded.last > bucket_spans.last THEN excluded.last ELSE bucket_spans.last END"
)
_NOTE = text(f"INSERT INTO bucket_spans (bucket, first, last) VALUES (:bucket, :first, :last) {_WIDENING}")
_OUTSIDE = (
    "FROM contents LEFT JOIN bucket_spans ON bucket_spans.bucket = contents.bucket "
    f"AND (contents.idx >> {BLOCK_BITS}) BETWEEN bucket_spans.first AND bucket_spans.last "
    "WHERE contents.bucket IS NOT NULL AND bucket_spans.bucket IS NULL "
    "GROUP BY contents.bucket ORDER BY contents.bucket"
)
_FIND_OUTSIDE = text(f"SELECT contents.bucket, min(contents.idx), count(*) {_OUTSIDE} LIMIT :most")
_WIDEN = text(
    "INSERT INTO bucket_spans (bucket, first, last) SELECT contents.bucket, "
    f"(min(contents.idx) >> {SPAN_BITS}) * {_PER_SPAN}, "
    f"(max(contents.idx) >> {SPAN_BITS}) * {_PER_SPAN} + {_PER_SPAN - 1} {_OUTSIDE} {_WIDENING}"
)


def in_bucket(columns: str) -> TextClause:
    """The query for at most `most` rows of the contents of `bucket`."""
    return text(_IN_BUCKET.format(columns=columns))


def note(connection: Connection, moved: Iterable[tuple[int, int]]) -> None:
    """Note records, each by its index and the bucket that it comes to be in."""
    spans = {(bucket, index >> SPAN_BITS) for index, bucket in moved}
    rows = [dict(zip(("bucket", "first", "last"), _row(*span), strict=True)) for span in sorted(spans)]
    if rows:
        connection.execute(_NOTE, rows)


def outside(connection: Connection, most: int) -> list[tuple[int, int, int]]:
    """At most `most` buckets with contents outside of the noted span, where nothing would look for them.

    Each with the index of the first such record, and how many there are. One statement, so one snapshot:
    beside a running server, too, it finds nothing where nothing is wrong.
    """
    return [(row[0], row[1], row[2]) for row in connection.execute(_FIND_OUTSIDE, {"most": most})]


def widen(connection: Connection) -> None:
    """Let the span of every bucket cover its contents.

    Rows are written in the order in which `note` writes them: beside a server there is no deadlock.
    """
    connection.execute(_WIDEN)


class Spans:
    """Notes the spans of what is appended. Owned by whoever owns the connection."""

    def __init__(self, sql: Statements) -> None:
        self._sql = sql
        self._noted: set[tuple[int, int]] = set()  # committed ones only
        self._fresh: set[tuple[int, int]] = set()  # of the transaction under way

    def begin(self) -> None:
        """A transaction begins. What one that was rolled back had noted is forgotten."""
        self._fresh = set()

    def note(self, cursor: Any, rows: "Iterable[ContentRow]") -> None:
        """Note the spans of rows that the transaction inserts."""
        spans = {(row[4], row[0] >> SPAN_BITS) for row in rows} - self._noted - self._fresh
        if spans:
            cursor.executemany(self._sql.note_span, [_row(*span) for span in sorted(spans)])
            self._fresh |= spans

    def committed(self) -> None:
        """The transaction is durable."""
        if len(self._noted) >= MAX_NOTED:
            self._noted = set()
        self._noted |= self._fresh
        self._fresh = set()


def _row(bucket: int, span: int) -> tuple[int, int, int]:
    first = span * _PER_SPAN
    return bucket, first, first + _PER_SPAN - 1
