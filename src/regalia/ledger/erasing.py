"""Erasing contents on the record: which keys go, and the ledger's side of how (`regalia.vault.erasure`).

What is asked is kept before anything is done, so that an erasure that a crash interrupts is finished when
the log is opened again. Its record is in the log before a key is destroyed. An erasure that could not be
recorded is forgotten before its asker hears of that: nothing is erased later that was refused. What a legal
hold covers is left out, and if that leaves nothing the erasure is refused. The holds are looked at twice:
when the erasure is planned, and in the very transaction that records it; so a hold is before it in the log,
or after it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from regalia.clock import call_ms
from regalia.errors import AuditUnavailable, RegaliaError
from regalia.ledger.contents import ident
from regalia.ledger.errors import CallOpen
from regalia.ledger.holds import active_holds, active_holds_in
from regalia.ledger.spans import in_bucket, note
from regalia.storage import Database
from regalia.storage.schema import calls, contents, erasure_calls, erasures, log_state, subjects
from regalia.storage.schema.retention import erasure_projects
from regalia.vault import Bucket, ErasureUnderWay, Rewrap, Vault, VaultError, bucket_of
from regalia.vault.erasure import erase_calls, erase_project, erase_selected, resume, tidy
from regalia.vault.retention import Call, Held, Hold, erasable, holds_on_project, keeping
from regalia.vault.retention import select as select_free

MOST_CALLS = 1500
"""What the record of one erasure can name within 65,535 bytes."""
MOST_HOLDS = 100
"""How many holds that kept something back a record names."""
_CALLS_IN = in_bucket("DISTINCT contents.call")
_RECORDS_IN = in_bucket("contents.idx, contents.call, contents.phase, contents.key")
_PLACES_IN = in_bucket("contents.idx")
MOST_PARTS = 200_000
"""How many calls one erasure takes out of buckets of which a hold keeps a part."""
MOST_LOOKED_AT = 100_000
"""How many calls of one end user are looked at, to find those that no hold keeps."""
ATTEMPTS = 5

Scope = Literal["call", "project", "end-user", "before", "retention"]
Transact = Callable[[Callable[[Any, int], bytes]], int]
"""Appends the record that the given function makes, in one transaction with what it does; its index."""

_encode = msgspec.msgpack.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class NothingToErase(RegaliaError):
    """There is no such call, no call of such an end user, or it is erased already."""


class HeldMeanwhile(RegaliaError):
    """A hold came between an erasure's plan and its record: it must be planned again."""


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """What is to be erased, and why. `by` and `projects` are pseudonyms: the record carries them.

    `target` is a call, a project, an end-user reference or a run of retention; `before` is in milliseconds.
    `buckets` go whole; of those in `parts` only the calls named go. `held` are the holds that keep the rest.
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
    parts: tuple[tuple[int, tuple[str, ...]], ...] = ()
    held: tuple[str, ...] = ()
    owners: tuple[tuple[str, int], ...] = ()
    """Of an erasure by retention the projects' ids, each with its oldest admission; they are not recorded."""

    @property
    def selects(self) -> bool:
        """Whether it goes by buckets."""
        return bool(self.buckets or self.parts)

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
        if self.scope in ("project", "retention"):
            fields["projects"] = list(self.projects)
        if self.scope in ("before", "retention"):
            fields["before"] = self.before
        if self.scope in ("call", "end-user"):
            fields["calls"] = list(self.calls)
        if self.scope == "retention":
            fields["retention"] = self.target
        if self.held:
            fields["held"] = list(self.held[:MOST_HOLDS])
        return _canonical(fields)


_decode = msgspec.msgpack.Decoder(Erasure).decode


class Eraser:
    """Erases, one erasure at a time."""

    def __init__(
        self, database: Database, vault: Vault, turn: Lock, transact: Transact, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._vault = vault
        self._rows = Rows(database, turn)
        self._turn = turn
        self._transact = transact
        self._clock = clock

    def perform(self, wanted: Erasure) -> Erasure:
        """Erase what no hold keeps; what was erased.

        Raises Held where holds keep all of it, NothingToErase, CallOpen, ErasureUnderWay, VaultError, and
        AuditUnavailable where it could not be recorded: then nothing is erased, now or later.
        """
        with suppress(VaultError):  # what is damaged must not keep the rest from being erased
            self.finish()
        for _ in range(ATTEMPTS):
            plan = self._kept(wanted)
            try:
                self._carry_out(plan)
            except HeldMeanwhile:
                self._forget(plan)
                continue
            except AuditUnavailable:
                if not self._recorded(plan):
                    raise
                self._carry_out(plan)  # what was committed unheard is on record, and so is carried out
            return plan
        raise ErasureUnderWay("holds are being placed on this all the time: try again later")

    def finish(self) -> int:
        """Finish what was interrupted; how many erasures."""
        with self._database.read() as connection:
            left = connection.execute(select(erasures.c.plan).where(erasures.c.done.is_(None)))
            plans = [_decode(bytes(plan)) for plan in left.scalars()]
        try:
            for plan in plans:  # before what else was begun: they know which calls must not move on
                try:
                    self._carry_out(plan)
                except HeldMeanwhile:
                    self._forget(plan)  # it was never recorded: the hold was there first
            resume(self._vault, self._rows, self._clock())
        except ErasureUnderWay:
            return 0  # then another process is at work, which finishes its own
        return len(plans)

    def tidy(self) -> int:
        """Delete the rows that erased projects left behind, and that nothing can open."""
        return tidy(self._vault, self._rows, self._clock())

    def parts_of(self, mixed: Sequence[Bucket], holds: Sequence[Hold]) -> dict[int, tuple[str, ...]]:
        """Of buckets that holds touch, the calls that may go; buckets in which all is kept are left out."""
        parts: dict[int, tuple[str, ...]] = {}
        left = MOST_PARTS
        for bucket in mixed:
            with self._database.read() as connection:
                found = connection.execute(_CALLS_IN, {"bucket": bucket.id, "most": left})
                inside = found.scalars().all()
            free, _ = erasable([_as_call(call, bucket.project) for call in inside], holds)
            if free:
                parts[bucket.id] = tuple(sorted(free))
                left -= len(free)
            if left <= 0:
                break
        return parts

    def _kept(self, wanted: Erasure) -> Erasure:
        """The plan, kept in the database before anything is done."""
        with self._database.read() as connection:
            holds = active_holds(connection)
        if wanted.scope in ("project", "before"):
            wanted = self._select(wanted, holds)
        with self._turn, self._database.write() as connection:
            plan = wanted
            if wanted.scope == "call":
                plan = self._one_call(connection, wanted, holds)
            elif wanted.scope == "end-user":
                plan = self._calls_for(connection, wanted, holds)
            self._keep(connection, plan)
        return plan

    def _keep(self, connection: Connection, plan: Erasure) -> None:
        row = {
            "id": plan.id,
            "plan": _encode(plan),
            "project": plan.target if plan.scope == "project" else "",
            "before": plan.before if plan.scope == "before" else 0,
        }
        connection.execute(insert(erasures).values(row))
        try:
            if plan.calls:
                listed = [{"call": call, "erasure": plan.id} for call in plan.calls]
                connection.execute(insert(erasure_calls), listed)
        except IntegrityError as error:
            raise ErasureUnderWay("another process erases one of these calls: try again") from error
        if plan.owners:
            listed_projects = [
                {"project": project, "erasure": plan.id, "since": since, "before": plan.before}
                for project, since in plan.owners
            ]
            connection.execute(insert(erasure_projects), listed_projects)

    def _forget(self, plan: Erasure) -> None:
        """An erasure that is not on record was never to be."""
        with self._turn, self._database.write() as connection:
            _delete(connection, plan)

    def _recorded(self, plan: Erasure) -> bool:
        """Whether an erasure is on record; if not, it is forgotten. Raises ErasureUnderWay: none can tell."""
        try:
            with self._turn, self._database.write() as connection:
                # the log's turn: what is being committed has ended then, one way or the other
                connection.execute(select(log_state.c.size).with_for_update())
                query = select(erasures.c.record).where(erasures.c.id == plan.id)
                recorded = connection.execute(query).scalar_one_or_none() is not None
                if not recorded:
                    _delete(connection, plan)
        except (SQLAlchemyError, OSError) as error:
            raise ErasureUnderWay(
                f"the database does not say whether the erasure {plan.id} is on record: it is finished by "
                "itself, see `regalia content erasures`"
            ) from error
        return recorded

    def _select(self, wanted: Erasure, holds: Sequence[Hold]) -> Erasure:
        """A project or an age, less what is held."""
        project = wanted.target if wanted.scope == "project" else None
        before = wanted.before if wanted.scope == "before" else None
        buckets = self._vault.buckets(project, before)
        if not buckets:
            none = f"the project {wanted.target[:64]} has no contents"
            raise NothingToErase(none if project else "no content is that old")
        if project is not None and not holds_on_project(project, holds):
            return wanted  # its keys go at once, however many buckets there are
        free = select_free(buckets, holds)
        parts = self.parts_of(free.mixed, holds)
        held = tuple(hold.id for hold in keeping((), (*free.held, *free.mixed), holds))
        if not free.whole and not parts:
            raise _held(held)
        return msgspec.structs.replace(
            wanted, buckets=tuple(bucket.id for bucket in free.whole), parts=tuple(parts.items()), held=held
        )

    def _one_call(self, connection: Connection, wanted: Erasure, holds: Sequence[Hold]) -> Erasure:
        call = wanted.target
        query = select(calls.c.outcome, calls.c.project).where(calls.c.call == call)
        found = connection.execute(query).first()
        if found is None:
            raise NothingToErase(f"there is no call {call[:64]}")
        if found.outcome is None:
            raise CallOpen(f"{call} has no outcome yet: erase it when its answer has ended")
        if connection.execute(select(erasure_calls).where(erasure_calls.c.call == call)).first():
            raise NothingToErase(f"{call} is erased already")
        if held := keeping([_as_call(call, found.project)], (), holds):
            raise _held([hold.id for hold in held])
        return msgspec.structs.replace(wanted, calls=(call,))

    def _calls_for(self, connection: Connection, wanted: Erasure, holds: Sequence[Hold]) -> Erasure:
        """The ended calls, not erased yet, for an end user, in all projects; less those that are held."""
        known = connection.execute(select(subjects.c.project).distinct()).scalars().all()
        pairs = [(project, self._vault.subject(project, wanted.target)) for project in known]
        named = [(subjects.c.project == project) & (subjects.c.subject == named) for project, named in pairs]
        found = connection.execute(
            select(subjects.c.call, subjects.c.project)
            .join(calls, calls.c.call == subjects.c.call)
            .outerjoin(erasure_calls, erasure_calls.c.call == subjects.c.call)
            .where(or_(False, *named), calls.c.outcome.is_not(None), erasure_calls.c.call.is_(None))
            .distinct()
            .limit(MOST_LOOKED_AT)
        )
        ended = [_as_call(row.call, row.project) for row in found]
        if not ended:
            raise NothingToErase("there is no ended call for this end user that is not erased already")
        free, kept = erasable(ended, holds)
        held = tuple(hold.id for hold in keeping([c for c in ended if c.id in kept], (), holds))
        if not free:
            raise _held(held)
        return msgspec.structs.replace(
            wanted, target="", calls=tuple(sorted(free)[:MOST_CALLS]), held=held
        )  # the end user's name is not kept

    def _carry_out(self, plan: Erasure) -> None:
        def announce() -> None:
            with self._database.read() as connection:
                query = select(erasures.c.record).where(erasures.c.id == plan.id)
                recorded = connection.execute(query).scalar_one()
            if recorded is None:
                self._transact(lambda cursor, index: self._record(cursor, index, plan))

        now = self._clock()
        if plan.scope == "project" and not plan.selects:
            erase_project(self._vault, plan.target, announce, now)
        elif plan.scope in ("project", "before", "retention"):
            parts = {bucket: frozenset(erased) for bucket, erased in plan.parts}
            erase_selected(self._vault, self._rows, plan.buckets, parts, announce, now)
        else:
            erase_calls(self._vault, self._rows, frozenset(plan.calls), announce, now)
        with self._turn, self._database.write() as connection:
            connection.execute(delete(subjects).where(subjects.c.call.in_(plan.calls)))
            connection.execute(update(erasures).where(erasures.c.id == plan.id).values(done=now))

    def _record(self, cursor: Any, index: int, plan: Erasure) -> bytes:
        """Within the transaction that records it: raise HeldMeanwhile where a hold came first."""
        mark = "?" if self._database.is_sqlite else "%s"
        if self._keeping(active_holds_in(cursor), plan):
            raise HeldMeanwhile(plan.id)
        cursor.execute(f"UPDATE erasures SET record = {mark} WHERE id = {mark}", (index, plan.id))
        return plan.record()

    def _keeping(self, holds: Sequence[Hold], plan: Erasure) -> bool:
        """Whether a hold keeps anything of a plan."""
        if not holds:
            return False
        if plan.scope == "project" and not plan.selects:
            return bool(holds_on_project(plan.target, holds))
        wanted = {*plan.buckets, *(bucket for bucket, _ in plan.parts)}
        buckets = {bucket.id: bucket for bucket in self._vault.buckets() if bucket.id in wanted}
        named = [
            _as_call(call, buckets[bucket].project)
            for bucket, erased in plan.parts
            if bucket in buckets
            for call in erased
        ]
        with self._database.read() as connection:
            for start in range(0, len(plan.calls), 500):
                some = plan.calls[start : start + 500]
                query = select(calls.c.call, calls.c.project).where(calls.c.call.in_(some))
                named += [_as_call(row.call, row.project) for row in connection.execute(query)]
        whole = [buckets[bucket] for bucket in plan.buckets if bucket in buckets]
        return bool(keeping(named, whole, holds))


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
        with self._turn, self._database.write() as connection:
            connection.execute(select(log_state.c.size).with_for_update())
            taken = connection.execute(_RECORDS_IN, {"bucket": bucket, "most": limit}).all()
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
                note(connection, [(index, bucket_of(key)) for index, key in kept])
        return len(taken)

    def drop(self, bucket: int, limit: int) -> int:
        """Delete records of a bucket whose key is gone."""
        with self._turn, self._database.write() as connection:
            taken = connection.execute(_PLACES_IN, {"bucket": bucket, "most": limit}).scalars().all()
            connection.execute(delete(contents).where(contents.c.idx.in_(taken)))
        return len(taken)


def _delete(connection: Connection, plan: Erasure) -> None:
    connection.execute(delete(erasures).where(erasures.c.id == plan.id))
    connection.execute(delete(erasure_calls).where(erasure_calls.c.erasure == plan.id))
    connection.execute(delete(erasure_projects).where(erasure_projects.c.erasure == plan.id))


def _as_call(call: str, project: str) -> Call:
    return Call(call, project, call_ms(call))


def _held(holds: Sequence[str]) -> Held:
    named = ", ".join(holds[:10])
    return Held(f"a legal hold keeps this ({named}): nothing was erased; see `regalia hold list`")
