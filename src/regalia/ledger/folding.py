"""Recent usage, folded into sums in the background: what an outcome used is only appended with it.

A row for each key would be a page for each key, written again with every batch. So a batch's usage is
appended to `usage_recent`, and now and then what has come together there is added to `usage_sums`, in the
sums' own order, so that each page is written once for all the calls of its keys. `usage` is a view of both
(docs/decisions/0022).

The rules:

1. Rows of `usage_recent` are never changed. Their ids are indices of the log, so ids only grow, and what a
   transaction sees below the log's size is all there will ever be.
2. `usage_folding` says how far it has come: rows up to `base` are in the sums; of the others up to `upto`
   those that sort up to its mark. The view leaves out exactly these.
3. Sums and mark change in one transaction that holds the log's row, and only from the mark that the sums
   were made from: whatever is killed, or tries it twice, nothing is counted twice or lost.
4. Rows up to `base` are removed later. Nothing reads them any more.

Some hundred sums at a time, so that records wait for milliseconds at most.
"""

import time
from collections.abc import Callable
from threading import Lock

import msgspec
from sqlalchemy import Connection, TextClause, delete, func, select, text, update

from regalia.storage import Database
from regalia.storage.schema import log_state
from regalia.storage.schema.metering import usage_folding, usage_recent

ENTRIES = 131_072
"""So many entries of the log make it worth while,"""
AGE_S = 300.0
"""or any at all, after so long."""
PLANNED = 16_384
"""How many sums are made at once."""
CHUNK = 512
"""How many sums one transaction adds."""
CHUNKS = 4
"""How many transactions there are in a round."""
REMOVED = 8192
"""How many rows one transaction removes."""

DIMENSIONS = ("day", "project", "key_id", "user_id", "route", "model", "price", "organisation")
COUNTS = ("requests", "input", "cached", "output", "cost", "measured", "energy")
BEGINNING = ("",) * len(DIMENSIONS)

_COLUMNS = (*DIMENSIONS, "currency", *COUNTS)


class Progress(msgspec.Struct, frozen=True):
    """How far it has come, as `usage_folding` says it. Between two folds `base` is `upto`."""

    base: int
    upto: int
    mark: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """Sums of recent usage up to `upto`, in order, to be added from `begins` on; `whole` if that is all."""

    begins: Progress
    upto: int
    sums: tuple[tuple[str | int, ...], ...]
    whole: bool

    def divided(self, most: int) -> "tuple[Plan, Plan | None]":
        """What one transaction adds, and what is left for others."""
        if len(self.sums) <= most:
            return self, None
        first = msgspec.structs.replace(self, sums=self.sums[:most], whole=False)
        return first, msgspec.structs.replace(self, begins=first.ends, sums=self.sums[most:])

    @property
    def ends(self) -> Progress:
        """How far it has come once these sums are added."""
        if self.whole:
            return Progress(self.upto, self.upto, BEGINNING)
        last = tuple(str(value) for value in self.sums[-1][: len(DIMENSIONS)])
        return Progress(self.begins.base, self.upto, last)


class Folding:
    """Folds usage. Owned by one thread; `turn` is held while others must not write."""

    def __init__(
        self, database: Database, turn: Lock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._turn = turn
        self._monotonic = monotonic
        self._sum, self._add = _statements(database)
        self._plan: Plan | None = None
        self._looked = 0  # the log's size when it was last found that nothing is left to fold
        self._due = monotonic()  # a process that begins looks what another one has left
        self._removing = True

    def round(self, size: int) -> None:
        """Do some of what is due in a log of that size. Raises SQLAlchemyError; then it begins afresh."""
        if self._removing:
            self._remove()
        elif self._plan is not None or self._is_due(size):
            self._fold()

    def _is_due(self, size: int) -> bool:
        grown = size - self._looked
        return grown >= ENTRIES or (grown > 0 and self._monotonic() >= self._due)

    def _fold(self) -> None:
        plan, self._plan = self._plan, None  # gone, if this fails
        plan = plan or self._planned()
        for _ in range(CHUNKS):
            if plan is None:
                return
            part, plan = plan.divided(CHUNK)
            if not self._added(part):  # another process folds
                self._rest(part.upto + 1)
                return
            if part.whole:
                self._rest(part.upto + 1)
                self._removing = True
        self._plan = plan

    def _rest(self, looked: int) -> None:
        self._looked, self._due = looked, self._monotonic() + AGE_S

    def _planned(self) -> Plan | None:
        """What is to be added next, None if there is nothing."""
        with self._database.read() as connection:
            size = int(connection.execute(select(log_state.c.size)).scalar_one())
            progress = _progress(connection)
            under_way = progress.upto > progress.base
            upto = progress.upto if under_way else size - 1
            where = dict(zip(DIMENSIONS, progress.mark, strict=True))
            found = connection.execute(
                self._sum, {"base": progress.base, "upto": upto, "most": PLANNED, **where}
            )
            sums = tuple(tuple(row) for row in found)
        if not sums and not under_way:
            self._rest(size)
            return None
        return Plan(progress, upto, sums, whole=len(sums) < PLANNED)

    def _added(self, plan: Plan) -> bool:
        """Add the sums, unless another process has added some meanwhile."""
        with self._turn, self._database.write() as connection:
            connection.execute(select(log_state.c.size).with_for_update())  # no outcome is recorded meanwhile
            if _progress(connection) != plan.begins:
                return False
            if plan.sums:
                connection.exec_driver_sql(self._add, list(plan.sums))
            ends = plan.ends
            where = dict(zip(DIMENSIONS, ends.mark, strict=True))
            connection.execute(update(usage_folding).values(base=ends.base, upto=ends.upto, **where))
        return True

    def _remove(self) -> None:
        """Remove rows that are in the sums; they need not be overwritten, because the sums say the same."""
        recent = usage_recent.c.id
        with self._turn, self._database.write() as connection:
            oldest = select(recent).where(recent <= select(usage_folding.c.base).scalar_subquery())
            some = oldest.order_by(recent).limit(REMOVED).subquery()
            last = connection.execute(select(func.max(some.c.id))).scalar()
            if last is None:
                self._removing = False
                return
            if self._database.is_sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete = OFF")
            try:
                connection.execute(delete(usage_recent).where(recent <= last))
            finally:
                if self._database.is_sqlite:
                    connection.exec_driver_sql("PRAGMA secure_delete = ON")


def _progress(connection: Connection) -> Progress:
    row = connection.execute(select(usage_folding)).one()._mapping
    return Progress(row["base"], row["upto"], tuple(row[name] for name in DIMENSIONS))


def _statements(database: Database) -> tuple[TextClause, str]:
    """The query that sums recent usage, in the order of bytes, and the driver's statement that adds a sum."""
    binary = "" if database.is_sqlite else ' COLLATE "C"'
    order = ", ".join(f"{name}{binary}" for name in DIMENSIONS)
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT)" for name in COUNTS)
    mark = ", ".join(f":{name}" for name in DIMENSIONS)
    find = (
        f"SELECT {', '.join(DIMENSIONS)}, max(currency), {sums} FROM usage_recent "
        f"WHERE id > :base AND id <= :upto AND ({order}) > ({mark}) "
        f"GROUP BY {', '.join(DIMENSIONS)} ORDER BY {order} LIMIT :most"
    )
    added = ", ".join(f"{name} = usage_sums.{name} + excluded.{name}" for name in COUNTS)
    add = (
        f"INSERT INTO usage_sums ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
        f"ON CONFLICT ({', '.join(DIMENSIONS)}) DO UPDATE SET {added}"
    )
    return text(find), add if database.is_sqlite else add.replace("?", "%s")
