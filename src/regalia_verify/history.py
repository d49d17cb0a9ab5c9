"""What a log's records say together: one opening, and for every call one admission and one outcome.

Pure. Memory grows by some 150 bytes a call, because its id is remembered to detect a second use.
"""

from collections import Counter

from .errors import FormatError, NotVerified
from .record import OUTCOMES, Record, parse

LINKED_FIELDS = ("request", "project", "route")  # the same in a call's outcome as in its admission


class History:
    """The records of one log so far; times are in milliseconds since the epoch."""

    def __init__(self, origin: str):
        self.origin = origin
        self.size = 0
        self.kinds: Counter[str] = Counter()
        self.first_time = self.last_time = self.times_backwards = 0
        # Of every call its admission (index, leaf hash and linked fields); None once it has its outcome.
        self._calls: dict[str, tuple[int, bytes, Record] | None] = {}

    @property
    def open(self) -> list[str]:
        """The calls that have no outcome yet."""
        return [call for call, admission in self._calls.items() if admission]

    def add(self, entry: bytes, leaf: bytes) -> None:
        """Take the next entry, with its leaf hash; raise NotVerified if it does not fit."""
        try:
            record = parse(entry)
        except FormatError as error:
            raise self._fault("record_malformed", str(error)) from error
        kind, time = record["kind"], record["time"]
        if (kind == "log.opened") != (self.size == 0):
            raise self._fault("log_opened", "log.opened must be entry 0 and no other")
        if kind == "log.opened" and record["origin"] != self.origin:
            raise self._fault("wrong_origin", f"the log was opened as {record['origin']}, not {self.origin}")
        if kind == "call.admitted":
            self._admit(record, leaf)
        elif kind in OUTCOMES:
            self._conclude(record)
        self.kinds[kind] += 1
        self.first_time = time if self.size == 0 else self.first_time
        self.times_backwards += time < self.last_time
        self.last_time = time
        self.size += 1

    def _admit(self, record: Record, leaf: bytes) -> None:
        call = record["call"]
        if call in self._calls:
            raise self._fault("second_admission", f"{call} was already admitted")
        self._calls[call] = (self.size, leaf, {name: record[name] for name in LINKED_FIELDS})

    def _conclude(self, record: Record) -> None:
        call = record["call"]
        if call not in self._calls:
            raise self._fault("outcome_without_admission", f"{call} was not admitted before this outcome")
        admission = self._calls[call]
        if admission is None:
            raise self._fault("second_outcome", f"{call} already has an outcome")
        index, leaf, linked = admission
        if record["admitted"] != leaf.hex():
            raise self._fault("wrong_admission", f"`admitted` is not the hash of entry {index}")
        for name, value in linked.items():
            if record.get(name, value) != value:  # call.aborted need not repeat them
                raise self._fault("outcome_differs", f"{name} differs from that of entry {index}")
        self._calls[call] = None

    def _fault(self, reason: str, message: str) -> NotVerified:
        return NotVerified(reason, f"entry {self.size}: {message}")
