"""What `log fsck` knows of erasures, retention and holds: what may be missing, and what must be there."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec
from sqlalchemy import Connection, LargeBinary, cast, exists, select

from regalia.clock import call_ms
from regalia.ledger.contents import SEALED
from regalia.ledger.holds import all_holds
from regalia.storage.schema import calls, contents, erasure_calls, erasures
from regalia.storage.schema.retention import erasure_projects
from regalia.vault import VaultError, bucket_of


class LoggedRecord(msgspec.Struct, frozen=True):
    """What matters here of a record."""

    kind: str
    call: str = ""
    project: str = ""
    projects: tuple[str, ...] = ()
    index_before: int = 0
    hold: str = ""


class Kept:
    """What the log's records say about retention and holds, taken in one by one."""

    def __init__(self) -> None:
        self._index_before: dict[str, int] = {}  # by the projects' pseudonyms
        self._lifted: dict[str, bool] = {}  # by the holds' ids

    def note(self, record: LoggedRecord) -> None:
        """Take a record in."""
        if record.kind == "retention.applied" and record.index_before:
            for project in record.projects:
                name = sys.intern(project)
                self._index_before[name] = max(record.index_before, self._index_before.get(name, 0))
        elif record.kind == "hold.placed":
            self._lifted[record.hold] = False
        elif record.kind == "hold.lifted":
            self._lifted[record.hold] = True

    def index_may_be_gone(self, call: str, project: str) -> bool:
        """Whether retention has removed this call from the index, on the record."""
        return call_ms(call) < self._index_before.get(project, 0)

    def hold_problems(self, connection: Connection, *, complete: bool) -> Iterator[tuple[str, str]]:
        """Holds in the database that are not what the log says; `complete` if the whole log was read."""
        known = {hold.id: hold for hold in all_holds(connection)}
        for ident, lifted in self._lifted.items():
            hold = known.pop(ident, None)
            if hold is None:
                yield f"hold {ident}", "is on record, and missing from the database"
            elif hold.active and lifted:
                yield f"hold {ident}", "was lifted on record, and is in force in the database"
            elif complete and not hold.active and not lifted:
                yield f"hold {ident}", "is lifted in the database, but not on record"
        for ident in known if complete else ():
            yield f"hold {ident}", "is in the database, but not on record"


def unexplained(connection: Connection, published: int) -> Iterator[str]:
    """Calls whose contents are missing although no erasure on record covers them."""
    erased = _Erased(connection)
    query = (
        select(calls.c.call, calls.c.project, calls.c.admitted, erasure_calls.c.erasure)
        .outerjoin(erasure_calls, erasure_calls.c.call == calls.c.call)
        .where(calls.c.admitted < published, ~exists().where(contents.c.idx == calls.c.admitted))
    )
    for row in connection.execution_options(yield_per=1000).execute(query):
        if not erased.covers(row.call, row.project, row.admitted, row.erasure):
            yield row.call


def misfiled(connection: Connection) -> Iterator[tuple[int, str]]:
    """Contents that erasing would look for in another bucket than the one whose key they are sealed under.

    Each with its index and what is wrong. Erasing the one bucket would delete them, erasing the other would
    pass over their row.
    """
    sealed_key = cast(contents.c.key, LargeBinary)  # SQLite keeps whatever was put into a column
    query = select(contents.c.idx, contents.c.bucket, sealed_key).where(contents.c.sealing == SEALED)
    for index, bucket, key in connection.execution_options(yield_per=1000).execute(query):
        try:
            of = bucket_of(bytes(key or b""))
        except VaultError as error:
            yield index, str(error)
            continue
        if of != bucket:
            yield index, f"its contents are filed under bucket {bucket}, and sealed under bucket {of}"


class _Erased:
    """The erasures that are on record."""

    def __init__(self, connection: Connection) -> None:
        columns = erasures.c.id, erasures.c.project, erasures.c.before, erasures.c.record
        self._records: dict[str, int] = {}
        self._projects: dict[str, int] = {}  # the newest record of each
        self._ages: list[tuple[int, int]] = []  # before, record
        self._spans: Mapping[str, list[tuple[int, int, int]]] = defaultdict(list)  # since, before, record
        for ident, project, before, record in connection.execute(
            select(*columns).where(erasures.c.record.is_not(None))
        ):
            self._records[ident] = record
            if project:
                self._projects[project] = max(record, self._projects.get(project, 0))
            elif before:
                self._ages.append((before, record))
        for project, erasure, since, before in connection.execute(select(erasure_projects)):
            if erasure in self._records:
                self._spans[project].append((since, before, self._records[erasure]))

    def covers(self, call: str, project: str, admitted: int, erasure: str | None) -> bool:
        if erasure in self._records or self._projects.get(project, -1) > admitted:
            return True
        at = call_ms(call)
        if any(before > at and record > admitted for before, record in self._ages):
            return True
        spans = self._spans.get(project, ())
        return any(since <= at < before and record > admitted for since, before, record in spans)
