"""What may be deleted, and what a legal hold keeps. Pure decisions over plain data.

The rules:
1. The content of a bucket is due when its window has been over for its class's `content_days`. Its class is
   the one it was sealed under and the one its project has now, whichever keeps for less long: what was
   promised when something was said is kept, and a stricter class holds for what is there already.
2. A hold covers the calls that meet all its terms: project, call ids, admission within a period.
3. What an active hold covers is not deleted: not by age, not by project, not by call, whoever asks.
4. A hold is active until two persons have agreed to lift it: one asks, another one consents.
5. Where a hold covers a part of a bucket, the rest is still deleted.

Times are milliseconds since the epoch. A call's contents may be sealed up to SLACK_MS before or after its
admission (it may last a day, and clocks are set), which decides whether a period covers it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from regalia.errors import RegaliaError
from regalia.vault.register import Bucket

DAY_MS = 86_400_000
SLACK_MS = DAY_MS
DEFAULT = "default"
"""The class of whatever has no other; it keeps for ever unless it is defined otherwise."""

Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]
ClassName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class RetentionError(RegaliaError):
    """A retention class or a hold that can't be, or may not be changed so."""


class Held(RetentionError):
    """A legal hold keeps what was to be erased; the message names the hold."""


class RetentionClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days contents are kept, and the index by which a call is found; None is for ever."""

    name: ClassName
    content_days: Days | None = None
    index_days: Days | None = None

    def __post_init__(self) -> None:
        if self.index_days is None:
            return
        if self.content_days is not None and self.index_days >= self.content_days:
            return
        kept = "for ever" if self.content_days is None else f"for {self.content_days} days"
        raise RetentionError(
            f"the retention class {self.name!r} keeps contents {kept} "
            f"but the index that finds them for {self.index_days} days only"
        )


class Rules(msgspec.Struct, frozen=True):
    """The classes by name, and each project's class where it has one."""

    classes: Mapping[str, RetentionClass]
    projects: Mapping[str, str]

    @property
    def undefined(self) -> list[str]:
        """The classes that projects name and nobody has defined."""
        return sorted({*self.projects.values()} - self.classes.keys() - {DEFAULT})

    def named(self, name: str) -> RetentionClass:
        """A class; one that nobody has defined keeps for ever, rather than guess."""
        return self.classes.get(name) or RetentionClass(name)

    def of(self, project: str) -> RetentionClass:
        """The class that a project has now."""
        return self.named(self.projects.get(project, DEFAULT))

    def content_days(self, bucket: Bucket) -> int | None:
        """For how many days the bucket's contents are kept, None for ever."""
        either = self.named(bucket.retention_class).content_days, self.of(bucket.project).content_days
        return min((days for days in either if days is not None), default=None)


class Call(msgspec.Struct, frozen=True):
    """What a hold goes by: the call's id, its project, when it was admitted."""

    id: str
    project: str
    admitted: int


class Hold(msgspec.Struct, frozen=True):
    """A legal hold on the calls that are of `project` (if given), among `calls` (if given) and admitted in
    [begins, ends) (where given). `placed_by`, `asked_by` and `lifted_by` identify persons.
    """

    id: str
    reason: str
    placed_by: str
    placed: int
    project: str = ""
    calls: frozenset[str] = frozenset()
    begins: int | None = None
    ends: int | None = None
    asked_by: str = ""
    asked: int | None = None
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
            and (self.begins is None or self.begins < bucket.ends + SLACK_MS)
            and (self.ends is None or bucket.begins - SLACK_MS < self.ends)
        )

    def fills(self, bucket: Bucket) -> bool:
        """Whether this covers whatever the bucket may hold."""
        return (
            self.touches(bucket)
            and not self.calls
            and (self.begins is None or self.begins <= bucket.begins - SLACK_MS)
            and (self.ends is None or bucket.ends + SLACK_MS <= self.ends)
        )


class Selection(msgspec.Struct, frozen=True):
    """Buckets to erase: `whole` ones to destroy, ones that are `held`, and `mixed` ones, of which `erasable`
    says which calls go.
    """

    whole: tuple[Bucket, ...]
    held: tuple[Bucket, ...]
    mixed: tuple[Bucket, ...]


def select(buckets: Iterable[Bucket], holds: Sequence[Hold]) -> Selection:
    """Of the buckets that somebody wants erased, what the holds leave free."""
    whole, held, mixed = [], [], []
    for bucket in buckets:
        touching = [hold for hold in holds if hold.touches(bucket)]
        if not touching:
            whole.append(bucket)
        elif any(hold.fills(bucket) for hold in touching):
            held.append(bucket)
        else:
            mixed.append(bucket)
    return Selection(tuple(whole), tuple(held), tuple(mixed))


def due(buckets: Iterable[Bucket], rules: Rules, now_ms: int) -> list[Bucket]:
    """The buckets whose time is over."""
    over = []
    for bucket in buckets:
        days = rules.content_days(bucket)
        if days is not None and now_ms >= bucket.ends + days * DAY_MS:
            over.append(bucket)
    return over


def index_due(retention: RetentionClass, now_ms: int) -> int:
    """The index of calls admitted before this time may go, unless a hold covers the call; 0 for none."""
    return 0 if retention.index_days is None else max(0, now_ms - retention.index_days * DAY_MS)


def erasable(calls: Iterable[Call], holds: Sequence[Hold]) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the calls that may be erased, and of those that a hold keeps."""
    every = set(calls)
    kept = {call for call in every if any(hold.covers(call) for hold in holds)}
    return frozenset(call.id for call in every - kept), frozenset(call.id for call in kept)


def holds_on_project(project: str, holds: Iterable[Hold]) -> list[Hold]:
    """The holds for which the project's keys may not be destroyed all at once."""
    return [hold for hold in holds if hold.active and hold.project in ("", project)]


def keeping(calls: Iterable[Call], buckets: Iterable[Bucket], holds: Iterable[Hold]) -> list[Hold]:
    """The holds that cover one of the calls, or may cover something in one of the buckets."""
    every, all_buckets = list(calls), list(buckets)
    return [
        hold
        for hold in holds
        if any(hold.covers(call) for call in every) or any(hold.touches(bucket) for bucket in all_buckets)
    ]


def lift(hold: Hold, actor: str, now_ms: int) -> Hold:
    """The hold after `actor` asked to lift it, or consented to what somebody else has asked.

    Raises RetentionError if this person may not.
    """
    if not hold.active:
        raise RetentionError(f"the hold {hold.id} has been lifted already")
    if not actor:
        raise RetentionError(f"the hold {hold.id} is not lifted by nobody")
    if not hold.asked_by:
        return msgspec.structs.replace(hold, asked_by=actor, asked=now_ms)
    if actor == hold.asked_by:
        raise RetentionError(
            f"you have asked to lift the hold {hold.id} already: somebody else has to consent, with a key or "
            "user of their own"
        )
    return msgspec.structs.replace(hold, lifted_by=actor, lifted=now_ms)
