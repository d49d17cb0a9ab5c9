"""Retention applied: the keys of contents whose time is over are destroyed, their index is removed.

A run plans, records what it is about to do (`retention.applied`), and then does it: contents by erasures,
each with its own record, which are finished after a crash; the index of calls row by row. A run that is cut
short is continued by the next one. What a hold covers stays, contents and index, even if the hold was placed
after the run was planned.

Index rows go when the contents they lead to are gone: then nothing but the log itself knows the call.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, exists, select

from regalia.clock import call_ms, new_call_id
from regalia.ledger.erasing import MOST_HOLDS, Eraser, Erasure
from regalia.ledger.holds import active_holds
from regalia.storage import Database
from regalia.storage.schema import calls, contents, log_state, subjects
from regalia.storage.schema.retention import retention_classes, retention_marks
from regalia.storage.schema.tenancy import projects
from regalia.vault import Bucket, Vault
from regalia.vault.retention import (
    SLACK_MS,
    Call,
    Hold,
    RetentionClass,
    Rules,
    due,
    erasable,
    index_due,
    keeping,
)
from regalia.vault.retention import select as select_free

MOST_NAMED = 1200
"""How many pseudonyms one record holds."""
MOST_INDEX = 200_000
"""How many rows of the index one run removes."""
_PAGE = 5_000
_DELETED = 500

Epochs = Mapping[str, Sequence[tuple[int, str]]]
"""Of each project its pseudonyms, oldest first, each with the millisecond from which on it is used."""

_canonical = msgspec.json.Encoder(order="sorted").encode


class RetentionDue(msgspec.Struct, frozen=True, array_like=True, tag="retention-due"):
    """What would a run do now?"""

    time: int


class ApplyRetention(msgspec.Struct, frozen=True, array_like=True, tag="apply-retention"):
    """Do it. Projects of which no pseudonyms are given are left for the next run."""

    id: str
    by: str
    time: int
    epochs: Mapping[str, tuple[tuple[int, str], ...]]


class DueContent(msgspec.Struct, frozen=True):
    """Contents of one project that are over: buckets that go whole, and calls that go out of others."""

    project: str
    retention: str
    days: int
    before: int
    since: int
    buckets: tuple[int, ...]
    parts: tuple[tuple[int, tuple[str, ...]], ...]


class DueIndex(msgspec.Struct, frozen=True):
    """Calls of one project whose index goes."""

    project: str
    retention: str
    days: int
    before: int
    since: int
    calls: tuple[str, ...]


class Retainer:
    """Applies the retention classes."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        turn: Lock,
        eraser: Eraser,
        transact: Callable[[Callable[[Any, int], bytes]], int],
    ) -> None:
        self._database = database
        self._vault = vault
        self._turn = turn
        self._eraser = eraser
        self._transact = transact

    def due(self, action: RetentionDue) -> dict[str, object]:
        """What a run would do, by project; nothing is changed. The index of what goes now comes after it."""
        rules, holds = self._rules()
        content, held = self._content(rules, holds, action.time)
        index, _, kept = self._index(rules, holds, action.time)
        return {
            "content": [
                {
                    "project": one.project, "class": one.retention, "since": one.since, "before": one.before,
                    "keys": len(one.buckets), "calls": sum(len(named) for _, named in one.parts),
                }
                for one in content
            ],
            "index": [
                {
                    "project": one.project, "class": one.retention, "since": one.since, "before": one.before,
                    "calls": len(one.calls),
                }
                for one in index
            ],
            "held": sorted({*held, *kept}),
            "undefined": rules.undefined,
        }  # fmt: skip

    def apply(self, action: ApplyRetention) -> dict[str, object]:
        """Carry out what is due; how much it was. Nothing is recorded where nothing is."""
        rules, holds = self._rules()
        content, held = self._content(rules, holds, action.time)
        content = [one for one in content if _is_named(one, action.epochs)]
        erasures = [self._erase(action, some, held) for some in _chunks(content, action.epochs)]
        every, marks, kept = self._index(rules, holds, action.time)
        index = [one for one in every if _is_named(one, action.epochs)]
        for some in _chunks(index, action.epochs):
            self._remove(action, some, kept)
        if len(index) == len(every):
            self._set_marks(marks)
        return {
            "retention": action.id,
            "keys": sum(len(one.buckets) for one in content),
            "calls": sum(len(named) for one in content for _, named in one.parts),
            "index": sum(len(one.calls) for one in index),
            "erasures": erasures,
            "held": sorted({*held, *kept}),
            "undefined": rules.undefined,
        }

    # Planning

    def _rules(self) -> tuple[Rules, list[Hold]]:
        with self._database.read() as connection:
            return read_rules(connection), active_holds(connection)

    def _content(
        self, rules: Rules, holds: Sequence[Hold], now_ms: int
    ) -> tuple[list[DueContent], tuple[str, ...]]:
        """What is over and free; the holds that keep some of what is over."""
        free = select_free(due(self._vault.buckets(), rules, now_ms), holds)
        parts = self._eraser.parts_of(free.mixed, holds)
        by_place: dict[tuple[str, int], list[Bucket]] = defaultdict(list)
        for bucket in (*free.whole, *(bucket for bucket in free.mixed if bucket.id in parts)):
            by_place[bucket.project, rules.content_days(bucket) or 0].append(bucket)
        found = [
            DueContent(
                project,
                rules.of(project).name,
                days,
                before=max(bucket.ends for bucket in buckets),
                since=min(bucket.begins for bucket in buckets) - SLACK_MS,
                buckets=tuple(bucket.id for bucket in buckets if bucket.id not in parts),
                parts=tuple((bucket.id, parts[bucket.id]) for bucket in buckets if bucket.id in parts),
            )
            for (project, days), buckets in sorted(by_place.items())
        ]
        return found, tuple(hold.id for hold in keeping((), (*free.held, *free.mixed), holds))

    def _index(
        self, rules: Rules, holds: Sequence[Hold], now_ms: int
    ) -> tuple[list[DueIndex], dict[str, int], tuple[str, ...]]:
        """The index rows that may go; how far each class was gone through; the holds that keep some."""
        with self._database.read() as connection:
            marks = {row.retention: row.index_before for row in connection.execute(select(retention_marks))}
        found: list[DueIndex] = []
        seen: dict[str, int] = {}
        kept: set[str] = set()
        left = MOST_INDEX
        for retention in _with_an_end(rules):
            before = index_due(retention, now_ms)
            free: dict[str, list[str]] = defaultdict(list)
            mark = _mark(rules, retention)
            seen[mark] = before
            for call, project, remains in self._ended(marks.get(mark, 0), before):
                if rules.of(project).name != retention.name:
                    continue
                named = Call(call, project, call_ms(call))
                covering = [hold.id for hold in holds if hold.covers(named)]
                kept.update(covering)
                if covering or remains or left <= 0:
                    seen[mark] = min(seen[mark], named.admitted)
                else:
                    free[project].append(call)
                    left -= 1
            found += [
                DueIndex(
                    project,
                    retention.name,
                    retention.index_days or 0,
                    before,
                    since=call_ms(listed[0]),
                    calls=tuple(listed),
                )
                for project, listed in sorted(free.items())
            ]
        return found, seen, tuple(sorted(kept))

    def _ended(self, since: int, before: int) -> Iterator[tuple[str, str, bool]]:
        """Calls admitted in a time, with their project and whether contents of theirs remain; open ones too,
        as if contents did.
        """
        last, end = new_call_id(max(0, since), bytes(10)), new_call_id(before, bytes(10))
        remains: ColumnElement[bool] = exists().where(contents.c.idx.in_([calls.c.admitted, calls.c.outcome]))
        query = select(calls.c.call, calls.c.project, calls.c.outcome, remains.label("remains"))
        while True:
            with self._database.read() as connection:
                page = query.where(calls.c.call >= last, calls.c.call < end).order_by(calls.c.call)
                rows = connection.execute(page.limit(_PAGE)).all()
            for row in rows:
                yield row.call, row.project, row.outcome is None or bool(row.remains)
            if len(rows) < _PAGE:
                return
            last = rows[-1].call + "0"  # the next one there can be

    # Doing

    def _erase(self, action: ApplyRetention, some: Sequence[DueContent], held: tuple[str, ...]) -> str:
        before = max(one.before for one in some)
        erasure = Erasure(
            id=f"erasure_{os.urandom(10).hex()}",
            scope="retention",
            target=action.id,
            before=before,
            basis=f"retention: {some[0].days} days",
            by=action.by,
            time=action.time,
            projects=_pseudonyms(some, action.epochs),
            buckets=tuple(bucket for one in some for bucket in one.buckets),
            parts=tuple(part for one in some for part in one.parts),
            held=held,
            owners=tuple((one.project, one.since) for one in some),
        )
        self._announce(
            action,
            some,
            held,
            {
                "content_days": some[0].days,
                "content_before": before,
                "keys": len(erasure.buckets),
                "erasure": erasure.id,
            },
        )
        self._eraser.perform(erasure)
        return erasure.id

    def _remove(self, action: ApplyRetention, some: Sequence[DueIndex], held: tuple[str, ...]) -> None:
        self._announce(
            action,
            some,
            held,
            {
                "index_days": some[0].days,
                "index_before": some[0].before,
                "calls": sum(len(one.calls) for one in some),
            },
        )
        every = [Call(call, one.project, call_ms(call)) for one in some for call in one.calls]
        for start in range(0, len(every), _DELETED):
            with self._turn, self._database.write() as connection:
                connection.execute(select(log_state.c.size).with_for_update())  # no hold is placed meanwhile
                free, _ = erasable(every[start : start + _DELETED], active_holds(connection))
                connection.execute(delete(subjects).where(subjects.c.call.in_(free)))
                connection.execute(delete(calls).where(calls.c.call.in_(free), calls.c.outcome.is_not(None)))

    def _announce(
        self,
        action: ApplyRetention,
        some: "Sequence[DueContent] | Sequence[DueIndex]",
        held: tuple[str, ...],
        fields: dict[str, object],
    ) -> None:
        record: dict[str, object] = {
            "v": 1,
            "kind": "retention.applied",
            "time": action.time,
            "retention": action.id,
            "by": action.by,
            "classes": sorted({one.retention for one in some}),
            "projects": list(_pseudonyms(some, action.epochs)),
            **fields,
        }
        if held:
            record["held"] = list(held[:MOST_HOLDS])
        self._transact(lambda _cursor, _index: _canonical(record))

    def _set_marks(self, marks: Mapping[str, int]) -> None:
        with self._turn, self._database.write() as connection:
            connection.execute(delete(retention_marks))
            if marks:
                rows = [{"retention": name, "index_before": before} for name, before in marks.items()]
                connection.execute(retention_marks.insert(), rows)


def _chunks(due: Sequence[Any], epochs: Epochs) -> Iterator[list[Any]]:
    """What shares a number of days, in portions whose pseudonyms fit one record."""
    by_days: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for one in due:
        by_days[one.days, one.before if isinstance(one, DueIndex) else 0].append(one)
    for some in by_days.values():
        portion: list[Any] = []
        named = 0
        for one in some:
            more = len(_pseudonyms([one], epochs))
            if portion and named + more > MOST_NAMED:
                yield portion
                portion, named = [], 0
            portion.append(one)
            named += more
        yield portion


def _is_named(one: DueContent | DueIndex, epochs: Epochs) -> bool:
    """Whether the pseudonyms of all that time are at hand; else it is left for the next run."""
    names = epochs.get(one.project, ())
    return bool(names) and names[0][0] <= max(one.since, 0)


def _pseudonyms(some: "Sequence[DueContent] | Sequence[DueIndex]", epochs: Epochs) -> tuple[str, ...]:
    """The names under which these calls are in the log."""
    found: dict[str, None] = {}
    for one in some:
        of_project = epochs[one.project]
        ends = [*(begins for begins, _ in of_project[1:]), None]
        for (begins, name), end in zip(of_project, ends, strict=True):
            if begins < one.before + SLACK_MS and (end is None or end > one.since):
                found[name] = None
    return tuple(found)


def _mark(rules: Rules, retention: RetentionClass) -> str:
    """What has been gone through counts for the days and the projects that the class had then."""
    of_class = sorted(project for project in rules.projects if rules.of(project).name == retention.name)
    had = sha256("\0".join([str(retention.index_days), *of_class]).encode()).hexdigest()
    return f"{retention.name}:{had[:32]}"


def _with_an_end(rules: Rules) -> list[RetentionClass]:
    return [one for one in rules.classes.values() if one.index_days is not None]


def read_rules(connection: Connection) -> Rules:
    """The classes, and the projects that have one."""
    columns = retention_classes.c.name, retention_classes.c.content_days, retention_classes.c.index_days
    classes = [RetentionClass(*row) for row in connection.execute(select(*columns))]
    assigned = connection.execute(select(projects.c.id, projects.c.retention))
    return Rules({one.name: one for one in classes}, {row.id: row.retention for row in assigned})
