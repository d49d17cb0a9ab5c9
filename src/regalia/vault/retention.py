"""What may be deleted, and what a legal hold keeps. Pure decisions over plain data.

The rules:
1. The content of a bucket is due when its window has been over for its class's `content_days`.
2. A hold covers the calls that meet all its terms: project, call ids, admission within a period.
3. What an active hold covers is not deleted: not by age, not by project, not by call, whoever asks.
4. A hold is active until it is lifted, and only someone else than who placed it can lift it.
5. Where a hold covers a part of a bucket, the rest is still deleted.

Times are milliseconds since the epoch. A call's contents may be sealed up to LONGEST_CALL_MS after its
admission, which decides whether a period covers it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from regalia.errors import RegaliaError
from regalia.vault.register import Bucket

DAY_MS = 86_400_000
LONGEST_CALL_MS = 86_400_000

Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class RetentionError(RegaliaError):
    """A retention class or a hold that can't be, or may not be changed so."""


class RetentionClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days contents are kept, and the index by which a call's receipt is found."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    content_days: Days
    index_days: Days

    def __post_init__(self) -> None:
        if self.index_days < self.content_days:
            raise RetentionError(
                f"the retention class {self.name!r} keeps contents for {self.content_days} days "
                f"but the index that finds them for {self.index_days} only"
            )


class Call(msgspec.Struct, frozen=True):
    """What a hold goes by: the call's id, its project, when it was admitted."""

    id: str
    project: str
    admitted: int


class Hold(msgspec.Struct, frozen=True):
    """A legal hold on the calls that are of `project` (if given), among `calls` (if given) and admitted in
    [begins, ends) (where given). `placed_by` and `lifted_by` identify persons, not their keys.
    """

    id: str
    reason: str
    placed_by: str
    placed: int
    project: str = ""
    calls: frozenset[str] = frozenset()
    begins: int | None = None
    ends: int | None = None
    lifted_by: str = ""
    lifted: int | None = None

    def __post_init__(self) -> None:
        if not (self.project or self.calls or self.begins is not None or self.ends is not None):
            raise RetentionError("a hold needs a project, calls or a period")
        if self.calls and (not self.project or self.begins is None or self.ends is None):
            raise RetentionError("a hold on calls states their project and the period of their admission")
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise RetentionError("a hold's period must end after it begins")
        if not self.reason or not self.placed_by:
            raise RetentionError("a hold states its reason and who placed it")

    @property
    def active(self) -> bool:
        """Whether it still keeps anything."""
        return self.lifted is None

    def covers(self, call: Call) -> bool:
        """Whether this call's contents must be kept."""
        return (
            self.active
            and (not self.project or self.project == call.project)
            and (not self.calls or call.id in self.calls)
            and (self.begins is None or self.begins <= call.admitted)
            and (self.ends is None or call.admitted < self.ends)
        )

    def touches(self, bucket: Bucket) -> bool:
        """Whether the bucket may hold a call that this covers."""
        return (
            self.active
            and (not self.project or self.project == bucket.project)
            and (self.begins is None or self.begins < bucket.ends)
            and (self.ends is None or bucket.begins - LONGEST_CALL_MS < self.ends)
        )

    def fills(self, bucket: Bucket) -> bool:
        """Whether this covers whatever the bucket may hold."""
        return (
            self.touches(bucket)
            and not self.calls
            and (self.begins is None or self.begins <= bucket.begins - LONGEST_CALL_MS)
            and (self.ends is None or bucket.ends <= self.ends)
        )


class Due(msgspec.Struct, frozen=True):
    """Buckets whose time is over: `whole` ones to destroy, ones that are `held`, and `mixed` ones, of which
    `erasable` says which calls go.
    """

    whole: tuple[Bucket, ...]
    held: tuple[Bucket, ...]
    mixed: tuple[Bucket, ...]


def due(
    buckets: Iterable[Bucket], classes: Mapping[str, RetentionClass], holds: Sequence[Hold], now_ms: int
) -> Due:
    """What retention must delete now. Raises RetentionError for a bucket whose class nobody has defined."""
    whole, held, mixed = [], [], []
    for bucket in buckets:
        found = classes.get(bucket.retention_class)
        if found is None:
            raise RetentionError(f"the retention class {bucket.retention_class!r} is not defined any more")
        if now_ms < bucket.ends + found.content_days * DAY_MS:
            continue
        touching = [hold for hold in holds if hold.touches(bucket)]
        if not touching:
            whole.append(bucket)
        elif any(hold.fills(bucket) for hold in touching):
            held.append(bucket)
        else:
            mixed.append(bucket)
    return Due(tuple(whole), tuple(held), tuple(mixed))


def index_due(retention: RetentionClass, now_ms: int) -> int:
    """The index entries of calls admitted before this time may go, unless a hold covers the call."""
    return now_ms - retention.index_days * DAY_MS


def erasable(calls: Iterable[Call], holds: Sequence[Hold]) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the calls that may be erased, and of those that a hold keeps."""
    every = set(calls)
    kept = {call for call in every if any(hold.covers(call) for hold in holds)}
    return frozenset(call.id for call in every - kept), frozenset(call.id for call in kept)


def holds_on_project(project: str, holds: Iterable[Hold]) -> list[Hold]:
    """The holds for which the project's keys may not be destroyed: its calls must be erased one by one."""
    return [hold for hold in holds if hold.active and hold.project in ("", project)]


def lift(hold: Hold, actor: str, now_ms: int) -> Hold:
    """The hold, lifted by `actor`. Raises RetentionError if this person may not."""
    if not hold.active:
        raise RetentionError(f"the hold {hold.id} has been lifted already")
    if not actor or actor == hold.placed_by:
        raise RetentionError(f"the hold {hold.id} must be lifted by someone else than who placed it")
    return msgspec.structs.replace(hold, lifted_by=actor, lifted=now_ms)
