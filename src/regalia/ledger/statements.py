"""The SQL of the hot path, one spelling for both databases but for parameter marks and locking."""

import msgspec

from regalia.storage import Database


class Statements(msgspec.Struct, frozen=True):
    """SQL text for the driver; parameters are positional."""

    begin: str
    lock_head: str
    head: str
    oldest: str
    insert_entry: str
    insert_call: str
    close_call: str
    insert_content: str
    insert_subject: str
    announced: str
    erasure: str
    published: str
    trim: str
    advance: str
    call: str
    open_call: str
    left_open: str
    left_by: str
    leaves: str
    finished: str
    parts: str


_SQLITE = Statements(
    begin="BEGIN IMMEDIATE",
    lock_head="SELECT size FROM log_state WHERE id = 1",
    head="SELECT size FROM log_state WHERE id = 1",
    oldest="SELECT min(idx) FROM entries",
    insert_entry="INSERT INTO entries (idx, leaf) VALUES (?, ?)",
    insert_call=(
        "INSERT INTO calls (call, project, process, admitted, admitted_hash) VALUES (?, ?, ?, ?, ?)"
    ),
    # An outcome closes exactly one open call, and only one that was admitted before it.
    close_call="UPDATE calls SET outcome = ? WHERE call = ? AND outcome IS NULL AND admitted < ?",
    insert_content=(
        "INSERT INTO contents (idx, sealing, call, phase, bucket, key, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
    ),
    insert_subject="INSERT INTO subjects (project, subject, call) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    announced="UPDATE erasures SET record = ? WHERE id = ?",
    # The first one that may explain why a call's contents can't be opened.
    erasure=(
        "SELECT record FROM erasures WHERE record > ? AND (project = ? OR before > ? OR id IN "
        "(SELECT erasure FROM erasure_calls WHERE call = ?)) ORDER BY record LIMIT 1"
    ),
    # Never back: a process that was paused must not undo what another has published since.
    published=(
        "UPDATE log_state SET published_size = ?, published_root = ? WHERE id = 1 AND published_size <= ?"
    ),
    trim="DELETE FROM entries WHERE idx < ?",
    advance="UPDATE log_state SET size = ? WHERE id = 1",
    call="SELECT outcome FROM calls WHERE call = ?",
    open_call="SELECT call, project, admitted_hash FROM calls WHERE call = ? AND outcome IS NULL",
    left_open=("SELECT call, project, admitted_hash FROM calls WHERE outcome IS NULL AND process <> ?"),
    left_by="SELECT call, project, admitted_hash FROM calls WHERE outcome IS NULL AND process = ?",
    finished=(
        "SELECT project, admitted, outcome, leaf FROM calls LEFT JOIN entries ON idx = outcome WHERE call = ?"
    ),
    parts="SELECT phase, key, data FROM contents WHERE idx IN (?, ?) ORDER BY idx",
    leaves="SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx",
)


def _postgresql(sql: str) -> str:
    return sql.replace("?", "%s")


_POSTGRESQL = Statements(
    **{name: _postgresql(getattr(_SQLITE, name)) for name in Statements.__struct_fields__}
    | {"begin": "BEGIN", "lock_head": _SQLITE.head + " FOR UPDATE"}
)


def statements_for(database: Database) -> Statements:
    """The statements in the database's dialect."""
    return _SQLITE if database.is_sqlite else _POSTGRESQL
