"""The export: published records, in order, as events to one destination, at least once.

It reads what the log has published, a bundle at a time, delivers the batch and then moves the cursor. What is
not taken is sent again after a pause that grows to a minute, for as long as it takes: nothing is left out and
nothing overtakes. It runs in a thread of its own and holds nobody up; how far it is behind is in `state`. The
thread does not end before it is told to: what nobody foresaw is logged whole, and tried again, too.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from regalia.audit.cursor import Cursor
from regalia.audit.destinations import DeliveryFailed, Destination, destination_of
from regalia.audit.ocsf import event_of
from regalia.config import AuditExport
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.note import Checkpoint
from regalia_verify.source import TILE_WIDTH, Folder, TiledLog

_LOG = structlog.get_logger()
LOOK_S: Final = 1.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
STOP_S: Final = 15.0
MAX_CHECKPOINT: Final = 512 * 1024


class State(msgspec.Struct, frozen=True):
    """How far the export is: the next record, how many are published, and what fails, if anything does.

    `attempts` is how often in a row it has failed.
    """

    next: int = 0
    published: int = 0
    failure: str = ""
    attempts: int = 0


class Export:
    """The export of one log to one destination. Owned by the thread that runs it."""

    def __init__(
        self,
        folder: Path,
        origin: str,
        cursor: Cursor,
        destination: Destination,
        *,
        calls: bool = True,
    ) -> None:
        self._folder = folder
        self._origin = origin
        self._cursor = cursor
        self._destination = destination
        self._calls = calls
        self._next = cursor.read()
        self.state = State(self._next)

    @property
    def waiting(self) -> int:
        """How many published records are not delivered yet."""
        return self.state.published - self.state.next

    @property
    def told(self) -> str:
        """How it goes, for whoever watches the server: no reason, which might name hosts and paths."""
        if not self.state.failure:
            return "ok"
        return f"failing: {self.waiting} records wait, the first is {self.state.next}"

    def run(self, stop: threading.Event, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Export until told to stop."""
        pause = 0.0
        while not stop.wait(pause or LOOK_S):
            failed_before = self.state.failure
            try:
                while self.step() and not stop.is_set():
                    pause = 0.0
            except Exception as error:  # whatever it was, what follows must be delivered some time
                self._failed(error, failed_before)
                pause = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, pause * 2))
            else:
                if failed_before:
                    _LOG.info("audit events are delivered again", next=self._next)
                pause = 0.0
                self.state = State(self._next, self.state.published)

    def _failed(self, error: Exception, before: str) -> None:
        """Say so once for each reason; what is not an error of delivery with where it comes from."""
        foreseen = isinstance(error, DeliveryFailed | FormatError | NotVerified | OSError)
        reason = str(error) if foreseen else f"{type(error).__name__}: {error}"
        if reason != before:
            trace = {} if foreseen else {"exc_info": error}
            _LOG.error("audit events are not delivered", reason=reason, next=self._next, **trace)
        self.state = State(self._next, self.state.published, reason or "unknown", self.state.attempts + 1)

    def step(self) -> bool:
        """Deliver one batch if there is one; whether there may be more.

        Raises DeliveryFailed, what `read_events` raises, OSError where the cursor can't be kept.
        """
        size = published_size(self._folder)
        self.state = State(self._next, size, self.state.failure, self.state.attempts)
        if self._next >= size:
            return False
        found = list(read_events(self._folder, self._origin, size, self._next, calls=self._calls))
        batch = [event for _, event in found if event is not None]
        if batch:
            self._destination.deliver(batch)
        self._next += len(found)
        self._cursor.write(self._next)
        self.state = State(self._next, size)
        return self._next < size

    def close(self) -> None:
        """Let go of the destination."""
        self._destination.close()


@asynccontextmanager
async def exporting(settings: AuditExport, data_dir: Path, origin: str) -> AsyncIterator[Export | None]:
    """Export while the block runs, if a destination is configured. Raises RegaliaError."""
    if not settings.to:
        yield None
        return
    cursor = Cursor(data_dir / "audit", origin, settings.to)
    export = Export(data_dir / "log", origin, cursor, destination_of(settings), calls=settings.calls)
    stop = threading.Event()
    thread = threading.Thread(target=export.run, args=[stop], name="regalia-audit-export", daemon=True)
    thread.start()
    try:
        yield export
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, STOP_S)
        export.close()


def published_size(folder: Path) -> int:
    """How many records the published checkpoint covers, 0 for none. Raises FormatError."""
    try:
        text = (folder / "checkpoint").read_bytes()[:MAX_CHECKPOINT].decode()
    except FileNotFoundError:
        return 0
    except UnicodeDecodeError as error:
        raise FormatError(f"{folder / 'checkpoint'} is not text") from error
    return Checkpoint.parse(text.partition("\n\n")[0] + "\n").size


def read_events(
    folder: Path, origin: str, size: int, start: int, *, calls: bool = True
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The events from `start` to the end of its bundle, with their index; None for what is left out.

    Raises FormatError, NotVerified where the log can't be read.
    """
    bundle = TiledLog(Folder(folder), size).bundle(start // TILE_WIDTH)
    yield from _events(bundle[start % TILE_WIDTH :], origin, start, calls)


def _events(
    entries: Sequence[bytes], origin: str, first: int, calls: bool
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for index, entry in enumerate(entries, first):
        record = msgspec.json.decode(entry, type=dict[str, Any])
        wanted = calls or not record["kind"].startswith("call.")
        yield index, event_of(record, entry, index, origin) if wanted else None
