"""The ledger: append records durably, publish them as a transparency log, give receipts.

`append` returns when the record is committed to the database (one fsync, shared by all records that wait
meanwhile). A publisher turns what is committed into the C2SP log in D/log. Receipts prove against the
newest published checkpoint. If a record can't be made durable the append fails, and while the log can't be
published no call is admitted: nothing is answered off the record.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from regalia import __version__
from regalia.clock import now_ms
from regalia.errors import AuditUnavailable
from regalia.ledger.batch import check
from regalia.ledger.entry import Entry
from regalia.ledger.folder import LogFolder
from regalia.ledger.journal import Journal, Published
from regalia.ledger.keys import FileSigner, KeyFiles, Signer
from regalia.ledger.lock import FileLock
from regalia.ledger.opening import load
from regalia.ledger.publisher import Publisher
from regalia.ledger.receipts import Receipts
from regalia.ledger.vault import PlainVault
from regalia.ledger.writer import Writer
from regalia.storage import Database, check_schema
from regalia_verify.tiles import TILE_WIDTH

STALL_S = 10.0
"""A commit that takes longer counts as a failure of the database."""


class Ledger:
    """One process's hold on the log. Made by `Ledger.open`; use from event loops."""

    def __init__(
        self, lock: FileLock, journal: Journal, publisher: Publisher, writer: Writer, receipts: Receipts
    ) -> None:
        self._lock = lock
        self._journal = journal
        self._publisher = publisher
        self._writer = writer
        self._receipts = receipts
        self._readers = ThreadPoolExecutor(2, "regalia-receipts")

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        database: Database,
        *,
        process: str,
        origin: str,
        keys: KeyFiles,
        clock: Callable[[], int] = now_ms,
    ) -> "Ledger":
        """Take the data directory, check that the log continues what was published, and begin.

        An empty log gets `log.opened`; calls that ended with their process get `call.aborted`. Raises
        LedgerLocked, SchemaUnknown, KeyUnusable, LogWouldFork or LogDamaged, having changed nothing.
        """
        ledger = await asyncio.to_thread(cls._open, data_dir, database, process, origin, keys, clock)
        ledger._writer.start()
        ledger._publisher.start()
        with suppress(AuditUnavailable):  # `unavailable` says why; it is tried again each second
            await ledger.publish()
        return ledger

    @classmethod
    def _open(
        cls,
        data_dir: Path,
        database: Database,
        process: str,
        origin: str,
        keys: KeyFiles,
        clock: Callable[[], int],
    ) -> "Ledger":
        lock = FileLock(data_dir / "run" / "lock")
        try:
            check_schema(database)
            signer = FileSigner(keys, origin)
            folder = LogFolder(data_dir / "log")
            start = load(database, folder, origin, signer.keys)
            if start.published.size == 0:
                folder.root.mkdir(parents=True, exist_ok=True)
            vault = PlainVault()
            journal = Journal(database, process, vault)
            if start.size == 0:
                journal.append([_log_opened(origin, signer, clock())])
            journal.abort_open_calls("process_ended", clock())
            writer = Writer(journal, clock)

            def on_published(published: Published) -> None:
                writer.note_published(published, published.size - published.size % TILE_WIDTH)

            publisher = Publisher(
                database,
                folder,
                signer,
                start.edge,
                start.published,
                origin=origin,
                clock=clock,
                on_published=on_published,
                on_tick=lambda: writer.probe() if writer.failure else None,
            )
            return cls(lock, journal, publisher, writer, Receipts(database, folder, vault))
        except BaseException:
            lock.release()
            raise

    def append(self, entry: Entry) -> "asyncio.Future[int]":
        """Append a record; the future gives its index once it is durable, and it stands even if the
        future is cancelled.

        Raises (or gives) AuditUnavailable when it can't be made durable, LedgerInvariantError when a
        second admission or outcome, or an outcome without its admission, is tried. A call whose outcome
        was refused with AuditUnavailable is closed by the ledger itself, as `call.aborted`.
        """
        if entry.phase == "admitted":
            reason = self._refusal()
            if reason is not None:
                raise AuditUnavailable(reason)
        check(entry)
        future = asyncio.get_running_loop().create_future()
        self._writer.submit(entry, future)
        return future

    async def receipt(self, call: str, project: str | None) -> str:
        """The receipt of a call's outcome (tlog-proof text); publishes first if that is needed.

        `project` is whose call it must be, None for anyone's. Raises ReceiptNotFound, CallOpen,
        AuditUnavailable when the outcome can't be published, LogDamaged when it can't be proved.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._readers, self._receipts.find, call, project)
        published = self._publisher.published
        if published.size <= found.outcome:
            published = await self._published_beyond(found.outcome)
        return await loop.run_in_executor(self._readers, self._receipts.build, found, published)

    async def publish(self) -> None:
        """Publish all that is committed now. Raises AuditUnavailable if that fails."""
        await self._published_beyond(self._journal.size - 1)

    @property
    def size(self) -> int:
        """The number of entries committed."""
        return self._journal.size

    @property
    def published_size(self) -> int:
        """The number of entries in the published checkpoint."""
        return self._publisher.published.size

    @property
    def unavailable(self) -> str | None:
        """Why no call can be recorded now, None if calls can."""
        return self._refusal() or self._writer.failure

    async def close(self) -> None:
        """Commit and publish what is there, then let go of the data directory."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.drain()
        self._publisher.close()
        self._writer.close()
        self._readers.shutdown()
        self._lock.release()

    def _refusal(self) -> str | None:
        """Why a call can't be admitted. A failed commit is no reason: the next one may succeed."""
        since = self._writer.busy_since
        if since is not None and time.monotonic() - since > STALL_S:
            return f"the database has not answered for {time.monotonic() - since:.0f} s"
        return self._publisher.failure

    async def _published_beyond(self, index: int) -> Published:
        future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._publisher.wait_for(index + 1, future)
        return await future


def _log_opened(origin: str, signer: Signer, time: int) -> Entry:
    record = {
        "v": 1,
        "kind": "log.opened",
        "time": time,
        "origin": origin,
        "software": f"regalia/{__version__}",
        "keys": [key.encode() for key in signer.keys],
    }
    return Entry(msgspec.json.encode(record, order="sorted"))
