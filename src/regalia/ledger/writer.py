"""Group commit: while one transaction commits, the next batch gathers.

`submit` is called on event loops and only queues. One thread takes all that waits, commits it through
the journal and hands each waiter its index, or the reason why there is none.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread

from regalia.errors import AuditUnavailable, RegaliaError
from regalia.ledger.entry import Entry
from regalia.ledger.journal import Journal, JournalError, Published, Result

MAX_WAITING = 10_000
MAX_BATCH = 1_024

Waiting = tuple[Entry, "asyncio.Future[int]"]


class Writer:
    """The one thread that uses the journal. `failure` says why the last commit failed, if it did."""

    def __init__(self, journal: Journal, clock: Callable[[], int], max_waiting: int = MAX_WAITING) -> None:
        self._journal = journal
        self._clock = clock
        self._max_waiting = max_waiting
        self._inbox: SimpleQueue[Waiting | None] = SimpleQueue()
        self._published: Published | None = None  # set by the publisher, cleared by the writer's thread
        self._trim_below = 0
        self._unrecorded: set[str] = set()  # calls whose outcome could not be committed
        self._closing = False
        self._ending = False
        self._drained = Event()
        self._thread = Thread(target=self._run, name="regalia-writer", daemon=True)
        self.failure: str | None = None
        self.busy_since: float | None = None  # monotonic; None while it waits for work

    def start(self) -> None:
        """Begin to commit what is submitted."""
        self._thread.start()

    def submit(self, entry: Entry, future: "asyncio.Future[int]") -> None:
        """Queue an entry; the future gets its index once it is durable. Never blocks."""
        if self._closing or self._inbox.qsize() >= self._max_waiting:
            raise AuditUnavailable("it is stopping" if self._closing else "too many records are waiting")
        self._inbox.put((entry, future))

    def note_published(self, published: Published, trim_below: int) -> None:
        """Have the next transaction note the publication, and rows that are in durable bundles go."""
        self._trim_below = trim_below
        self._published = published
        self._inbox.put(None)

    def probe(self) -> None:
        """Commit something soon, to learn whether the database works again."""
        self._inbox.put(None)

    def drain(self) -> None:
        """Refuse what comes from now on, and commit what waits."""
        self._closing = True
        self._inbox.put(None)
        self._drained.wait()

    def close(self) -> None:
        """End, after noting the last publication."""
        self._ending = True
        self._inbox.put(None)
        self._thread.join()
        self._journal.close()

    def _run(self) -> None:
        while True:
            batch = self._gather()
            self.busy_since = time.monotonic()
            self._commit(batch)
            self.busy_since = None
            if self._closing and self._inbox.empty():
                self._drained.set()
            if self._ending and self._inbox.empty():
                return

    def _gather(self) -> list[Waiting]:
        """All that waits, at least one wake-up."""
        first = self._inbox.get()
        batch = [] if first is None else [first]
        while len(batch) < MAX_BATCH:
            try:
                item = self._inbox.get_nowait()
            except Empty:
                break
            if item is not None:
                batch.append(item)
        return batch

    def _commit(self, batch: list[Waiting]) -> None:
        published, self._published = self._published, None
        entries = [entry for entry, _ in batch]
        try:
            results: Sequence[Result | AuditUnavailable] = self._journal.append(
                entries, published, self._trim_below
            )
            self._abort_unrecorded()
            self.failure = None
        except Exception as error:  # whatever it was, the waiters must hear of it
            known = isinstance(error, JournalError | RegaliaError)
            self.failure = str(error) if known else f"{type(error).__name__}: {error}"
            results = [AuditUnavailable(self.failure) for _ in batch]
            self._unrecorded.update(entry.call for entry in entries if entry.phase == "outcome")
            self._published = self._published or published
        _release(batch, results)
        if self.failure is None and self._journal.trimmed() < self._trim_below:
            self._inbox.put(None)

    def _abort_unrecorded(self) -> None:
        """End in the log the calls whose own outcome was refused while the database did not work."""
        if self._unrecorded:
            self._journal.abort_open_calls("outcome_not_recorded", self._clock(), self._unrecorded)
            self._unrecorded.clear()


def _release(batch: list[Waiting], results: Sequence[Result | AuditUnavailable]) -> None:
    """Resolve the waiters, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], Result | AuditUnavailable]]]
    by_loop = {}
    for (_, future), result in zip(batch, results, strict=True):
        by_loop.setdefault(future.get_loop(), []).append((future, result))
    for loop, resolved in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, resolved)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _resolve(resolved: list[tuple["asyncio.Future[int]", "Result | AuditUnavailable"]]) -> None:
    for future, result in resolved:
        if future.done():  # cancelled while it waited; the record is in the log all the same
            continue
        if isinstance(result, int):
            future.set_result(result)
        else:
            future.set_exception(result)
