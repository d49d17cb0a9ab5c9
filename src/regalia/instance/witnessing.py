"""The instance's witnesses: asked before the log goes on, and again and again while it grows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from regalia.config import Log
from regalia.instance.directory import InstanceError, identity_of
from regalia.ledger import KeyFiles, Ledger, LogWouldFork
from regalia.ledger.keys import renewed_policy
from regalia.notes import encode_note
from regalia.witness.cadence import Cadence
from regalia.witness.client import Cosigner, CosignResult
from regalia.witness.remembered import Remembered
from regalia.witness.roster import contradiction
from regalia_verify.errors import FormatError
from regalia_verify.merkle import EMPTY_ROOT, NodeHash
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Folder, TiledLog

_LOG = structlog.get_logger()


class Witnessing:
    """What the witnesses of the trust policy say of the log in `data_dir`."""

    def __init__(self, data_dir: Path, settings: Log, policy_file: Path) -> None:
        self.policy_text = _read_policy(policy_file, data_dir)
        self._policy = _parse_policy(self.policy_text, policy_file)
        self._folder = data_dir / "log"
        self._settings = settings
        self._remembered = Remembered(data_dir / "witnesses")
        self._cosigner = self._new_cosigner()
        self._cadence: Cadence | None = None
        self._ledger: Ledger | None = None
        self._news = asyncio.Condition()
        self.note: str | None = None
        self.size = 0  # of the newest witnessed checkpoint

    async def check(self, origin: str) -> None:
        """Before the log goes on: raise LogWouldFork where a witness holds more of it, or other entries."""
        own, node = self._own(origin)
        asker = self._new_cosigner()
        try:
            sightings, failures = await asker.sightings(origin)
        finally:
            await asker.close()
        for failure in failures:
            if failure.reason != "refused":  # it may not know the log yet
                _LOG.warning("a witness was not asked", witness=failure.witness, error=failure.message)
        for seen in sightings:
            problem = contradiction(own, node, seen)
            if problem:
                raise LogWouldFork(
                    f"the log here contradicts what was witnessed: {problem}. Restore the newer data "
                    f"directory; going on would fork the log"
                )

    @asynccontextmanager
    async def asking(self, ledger: Ledger) -> AsyncIterator[None]:
        """Ask while the block runs."""
        self._ledger = ledger
        remembered = self._remembered.witnessed(self._policy, [peer.name for peer in self._cosigner.peers])
        if remembered is not None:
            await self._keep(encode_note(remembered))
        self._cadence = Cadence(
            self._cosigner, self._newest, self._deliver, interval_s=self._settings.witness_seconds
        )
        task = asyncio.create_task(self._cadence.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._cosigner.close()

    @property
    def state(self) -> str:
        """For readiness: "ok", or for how long the demanded cosignatures are missing."""
        overdue = self._cadence.overdue_s() if self._cadence else 0.0
        if self._cadence is not None and self._cadence.failure:
            return self._cadence.failure
        return "ok" if overdue == 0 else f"not cosigned as demanded for {overdue:.0f} s"

    def checkpoint(self) -> str | None:
        """The newest witnessed checkpoint that this host knows of, whichever of its workers was told."""
        try:
            found = self._remembered.witnessed(self._policy, [peer.name for peer in self._cosigner.peers])
        except FormatError:  # a damaged memory costs a question, not a checkpoint
            found = None
        newer = found is not None and Checkpoint.parse(found.text).size > self.size
        return encode_note(found) if found is not None and newer else self.note

    def refusal(self) -> str | None:
        """Why no call may be answered, where the operator prefers silence to unwitnessed answers."""
        if self._settings.witnesses_lost != "refuse" or self._cadence is None:
            return None
        overdue = self._cadence.overdue_s()
        if overdue <= self._settings.witness_limit_seconds:
            return None
        return f"the log has not been cosigned as its trust policy demands for {overdue:.0f} s"

    async def covers(self, index: int, seconds: float) -> bool:
        """Wait until a witnessed checkpoint covers an entry; False if that takes longer."""
        if self._cadence is not None and self.size <= index:
            self._cadence.wake()
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self.size > index)
        except TimeoutError:
            return False
        return True

    def _new_cosigner(self) -> Cosigner:
        return Cosigner(self._policy, Folder(self._folder), self._remembered)

    def _newest(self) -> str:
        return (self._folder / "checkpoint").read_text()

    async def _deliver(self, result: CosignResult) -> None:
        if result.witnessed:
            await self._keep(result.note)

    async def _keep(self, note: str) -> None:
        if self._ledger is None:
            return
        await self._ledger.attach(note)
        async with self._news:
            self.note = note
            self.size = Checkpoint.parse(SignedNote.parse(note).text).size
            self._news.notify_all()

    def _own(self, origin: str) -> tuple[Checkpoint, NodeHash]:
        try:
            checkpoint = Checkpoint.parse(SignedNote.parse(self._newest()).text)
        except FileNotFoundError:
            checkpoint = Checkpoint(origin, 0, EMPTY_ROOT)
        return checkpoint, TiledLog(Folder(self._folder), checkpoint.size).node


def _read_policy(file: Path, data_dir: Path) -> str:
    """The trust policy, with the log's present keys where the file still has former ones."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InstanceError(f"can't use the trust policy {file}: {error}") from error
    return renewed_policy(text, KeyFiles.under(data_dir / "keys"), identity_of(data_dir).origin)


def _parse_policy(text: str, file: Path) -> TrustPolicy:
    try:
        return TrustPolicy.parse(text)
    except FormatError as error:
        raise InstanceError(f"can't use the trust policy {file}: {error}") from error
