"""What a log's records say together: one opening, and for every call one admission and one outcome.

Pure: `History.add` takes the entries in order and raises NotVerified at the first that does not fit.
Memory grows by roughly 150 bytes a call, because its id is remembered to detect a second use.
"""

from collections import Counter
from dataclasses import dataclass

from .errors import FormatError, NotVerified
from .kinds import OUTCOMES
from .record import Record, parse

LINKED_FIELDS = ("request", "project", "route")


@dataclass(frozen=True, slots=True)
class Admission:
    """An admitted call that waits for its outcome."""

    index: int
    leaf: str
    linked: tuple[str, ...]


class History:
    """The records of one log so far."""

    def __init__(self, origin: str):
        self.origin = origin
        self.size = 0
        self.kinds: Counter[str] = Counter()
        self.open: dict[str, Admission] = {}
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.times_backwards = 0
        self._calls: set[str] = set()

    def add(self, entry: bytes, leaf: bytes) -> None:
        """Take the next entry, with its leaf hash."""
        try:
            record = parse(entry)
        except FormatError as error:
            raise NotVerified("record_malformed", f"entry {self.size}: {error}") from error
        kind = record["kind"]
        if (kind == "log.opened") != (self.size == 0):
            raise self._fault("log_opened", "log.opened must be entry 0 and no other")
        if kind == "call.admitted":
            self._admit(record, leaf)
        elif kind in OUTCOMES:
            self._conclude(record)
        elif kind == "log.opened" and record["origin"] != self.origin:
            raise self._fault("wrong_origin", f"the log was opened as {record['origin']}, not {self.origin}")
        self.kinds[kind] += 1
        self._note_time(record["time"])
        self.size += 1

    def _admit(self, record: Record, leaf: bytes) -> None:
        call = record["call"]
        if call in self._calls:
            raise self._fault("second_admission", f"{call} was already admitted")
        self._calls.add(call)
        linked = tuple(record[name] for name in LINKED_FIELDS)
        self.open[call] = Admission(self.size, leaf.hex(), linked)

    def _conclude(self, record: Record) -> None:
        call = record["call"]
        admission = self.open.pop(call, None)
        if admission is None:
            if call in self._calls:
                raise self._fault("second_outcome", f"{call} already has an outcome")
            raise self._fault("outcome_without_admission", f"{call} was not admitted before this outcome")
        if record["admitted"] != admission.leaf:
            raise self._fault(
                "wrong_admission", f"`admitted` is not the leaf hash of entry {admission.index}"
            )
        for name, value in zip(LINKED_FIELDS, admission.linked, strict=True):
            if record.get(name, value) != value:  # call.aborted need not repeat them
                raise self._fault("outcome_differs", f"{name} differs from that of entry {admission.index}")

    def _note_time(self, time: int) -> None:
        if self.last_time is None:
            self.first_time = time
        elif time < self.last_time:
            self.times_backwards += 1
        self.last_time = time

    def _fault(self, reason: str, message: str) -> NotVerified:
        return NotVerified(reason, f"entry {self.size}: {message}")
