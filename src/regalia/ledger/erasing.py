"""Erasing contents on the record: which keys go, and the ledger's side of how (`regalia.vault.erasure`).

What is asked is kept before anything is done, so that an erasure that a crash interrupts is finished when
the log is opened again. Its record is in the log before a key is destroyed.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Literal

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from regalia.errors import RegaliaError
from regalia.ledger.contents import ident
from regalia.ledger.errors import CallOpen
from regalia.storage import Database
from regalia.storage.schema import calls, contents, erasure_calls, erasures, log_state, subjects
from regalia.vault import ErasureUnderWay, Rewrap, Vault, bucket_of
from regalia.vault.erasure import erase_buckets, erase_calls, erase_project, resume, tidy

MOST_CALLS = 1500
"""What the record of one erasure can name within 65,535 bytes."""

Scope = Literal["call", "project", "end-user", "before"]
_encode = msgspec.msgpack.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class NothingToErase(RegaliaError):
    """There is no such call, no call of such an end user, or it is erased already."""


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """What is to be erased, and why. `by` and `projects` are pseudonyms: the record carries them.

    `target` is a call, a project or an end-user reference; `before` is in milliseconds.
    """

    id: str
    scope: Scope
    target: str
    before: int
    basis: str
    by: str
    time: int
    projects: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    buckets: tuple[int, ...] = ()

    def record(self) -> bytes:
        """`content.erased`."""
        fields: dict[str, object] = {
            "v": 1,
            "kind": "content.erased",
            "time": self.time,
            "erasure": self.id,
            "scope": self.scope,
            "basis": self.basis,
            "by": self.by,
        }
        if self.scope == "project":
            fields["projects"] = list(self.projects)
        elif self.scope == "before":
            fields["before"] = self.before
        else:
            fields["calls"] = list(self.calls)
        return _canonical(fields)


_decode = msgspec.msgpack.Decoder(Erasure).decode


class Eraser:
    """Erases, one erasure at a time. `announce` appends a record for an erasure; it is durable on return."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        turn: Lock,
        announce: Callable[[bytes, str], None],
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._vault = vault
        self._rows = Rows(database, turn)
        self._turn = turn
        self._announce = announce
        self._clock = clock

    def perform(self, wanted: Erasure) -> Erasure:
        """Erase; what was erased. Raises NothingToErase, CallOpen, ErasureUnderWay, VaultError."""
        with self._turn, self._database.write() as connection:
            plan = self._plan(connection, wanted)
            project = plan.target if plan.scope == "project" else ""
            kept = msgspec.structs.replace(plan, target=project)  # an end user's name is not kept
            connection.execute(
                insert(erasures).values(id=plan.id, plan=_encode(kept), project=project, before=plan.before)
            )
            if plan.calls:
                listed = [{"call": call, "erasure": plan.id} for call in plan.calls]
                connection.execute(insert(erasure_calls), listed)
        self._carry_out(kept)
        return kept

    def finish(self) -> int:
        """Finish what was interrupted; how many erasures."""
        try:
            resume(self._vault, self._rows, self._clock())
            with self._database.read() as connection:
                left = connection.execute(select(erasures.c.plan).where(erasures.c.done.is_(None)))
                plans = [_decode(bytes(plan)) for plan in left.scalars()]
            for plan in plans:
                self._carry_out(plan)
        except ErasureUnderWay:
            return 0  # then another process is at work, which finishes its own
        return len(plans)

    def tidy(self) -> int:
        """Delete the rows that erased projects left behind, and that nothing can open."""
        return tidy(self._vault, self._rows, self._clock())

    def _plan(self, connection: Connection, wanted: Erasure) -> Erasure:
        change = msgspec.structs.replace
        if wanted.scope == "call":
            return change(wanted, calls=self._ended(connection, wanted.target))
        if wanted.scope == "end-user":
            return change(wanted, calls=self._calls_for(connection, wanted.target))
        if wanted.scope == "before":
            buckets = tuple(bucket.id for bucket in self._vault.buckets(before_ms=wanted.before))
            if not buckets:
                raise NothingToErase("no content is that old")
            return change(wanted, buckets=buckets)
        if connection.execute(select(calls.c.call).where(calls.c.project == wanted.target).limit(1)).first():
            return wanted
        raise NothingToErase(f"the project {wanted.target[:64]} has no calls")

    def _ended(self, connection: Connection, call: str) -> tuple[str, ...]:
        found = connection.execute(select(calls.c.outcome).where(calls.c.call == call)).first()
        if found is None:
            raise NothingToErase(f"there is no call {call[:64]}")
        if found.outcome is None:
            raise CallOpen(f"{call} has no outcome yet: erase it when its answer has ended")
        if connection.execute(select(erasure_calls).where(erasure_calls.c.call == call)).first():
            raise NothingToErase(f"{call} is erased already")
        return (call,)

    def _calls_for(self, connection: Connection, reference: str) -> tuple[str, ...]:
        """The ended calls, not erased yet, for an end user, in all projects."""
        known = connection.execute(select(subjects.c.project).distinct()).scalars().all()
        pairs = [(project, self._vault.subject(project, reference)) for project in known]
        named = [(subjects.c.project == project) & (subjects.c.subject == named) for project, named in pairs]
        found = connection.execute(
            select(subjects.c.call)
            .join(calls, calls.c.call == subjects.c.call)
            .outerjoin(erasure_calls, erasure_calls.c.call == subjects.c.call)
            .where(or_(False, *named), calls.c.outcome.is_not(None), erasure_calls.c.call.is_(None))
            .distinct()
            .limit(MOST_CALLS)
        )
        ended = tuple(found.scalars())
        if not ended:
            raise NothingToErase("there is no ended call for this end user that is not erased already")
        return ended

    def _carry_out(self, plan: Erasure) -> None:
        def announce() -> None:
            with self._database.read() as connection:
                query = select(erasures.c.record).where(erasures.c.id == plan.id)
                recorded = connection.execute(query).scalar_one()
            if recorded is None:
                self._announce(plan.record(), plan.id)

        now = self._clock()
        if plan.scope == "project":
            erase_project(self._vault, plan.target, announce, now)
        elif plan.scope == "before":
            erase_buckets(self._vault, self._rows, plan.buckets, announce, now)
        else:
            erase_calls(self._vault, self._rows, frozenset(plan.calls), announce, now)
        with self._turn, self._database.write() as connection:
            connection.execute(delete(subjects).where(subjects.c.call.in_(plan.calls)))
            connection.execute(update(erasures).where(erasures.c.id == plan.id).values(done=now))


class Rows:
    """The sealed contents in the database, as `regalia.vault.erasure` needs them."""

    def __init__(self, database: Database, turn: Lock) -> None:
        self._database = database
        self._turn = turn

    def locate(self, erased: frozenset[str]) -> Mapping[int, frozenset[str]]:
        """The buckets of these calls' contents, each with those of the calls that it holds."""
        found: dict[int, set[str]] = {}
        query = select(contents.c.bucket, contents.c.call).join(
            calls, or_(contents.c.idx == calls.c.admitted, contents.c.idx == calls.c.outcome)
        )
        with self._database.read() as connection:
            for call in erased:
                for bucket, name in connection.execute(query.where(calls.c.call == call)):
                    found.setdefault(bucket, set()).add(name)
        return {bucket: frozenset(held) for bucket, held in found.items()}

    def move(self, bucket: int, erased: frozenset[str], rewrap: Rewrap, limit: int) -> int:
        """Take records out of a bucket: those of `erased` calls are deleted, the others get new keys."""
        query = select(contents.c.idx, contents.c.call, contents.c.phase, contents.c.key)
        with self._turn, self._database.write() as connection:
            connection.execute(select(log_state.c.size).with_for_update())
            taken = connection.execute(query.where(contents.c.bucket == bucket).limit(limit)).all()
            gone = [row.idx for row in taken if row.call in erased]
            kept = [
                (row.idx, rewrap(ident(row.call, row.phase), bytes(row.key)))
                for row in taken
                if row.call not in erased
            ]
            connection.execute(delete(contents).where(contents.c.idx.in_(gone)))
            if kept:
                moved = [{"at": index, "bucket": bucket_of(key), "key": key} for index, key in kept]
                connection.execute(update(contents).where(contents.c.idx == bindparam("at")), moved)
        return len(taken)

    def drop(self, bucket: int, limit: int) -> int:
        """Delete records of a bucket whose key is gone."""
        with self._turn, self._database.write() as connection:
            query = select(contents.c.idx).where(contents.c.bucket == bucket).limit(limit)
            taken = connection.execute(query).scalars().all()
            connection.execute(delete(contents).where(contents.c.idx.in_(taken)))
        return len(taken)
