"""Asking witnesses for cosignatures over HTTP (https://c2sp.org/tlog-witness), all at once.

Every exchange is bounded in time and size, follows no redirect and keeps no cookie. Nothing a witness
says is believed unless it is signed: cosignatures by the keys in the trust policy, checkpoints by the
log's own. A witness that fails makes one `Failure`, never an exception.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable
from typing import Literal, TypeVar

import aiohttp
import msgspec
import structlog

from regalia.notes import encode_note
from regalia.witness.decision import TrustedLog
from regalia.witness.errors import Refused
from regalia.witness.remembered import Remembered
from regalia.witness.request import build_request
from regalia.witness.roster import (
    Peer,
    Sighting,
    attach,
    cosignatures_of,
    parse_answer,
    peers_of,
    reached,
    sighting,
)
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.merkle import NodeHash
from regalia_verify.note import Checkpoint, Signature, SignedNote
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Source, TiledLog
from regalia_verify.strict import decimal

_LOG = structlog.get_logger()
MAX_REPLY = 128 * 1024
DEADLINE_S = 5.0

T = TypeVar("T")

Reason = Literal[
    "unreachable",  # no connection, or it broke
    "timeout",
    "refused",  # an HTTP status that the protocol has no other use for here
    "ahead",  # the witness says that it has cosigned a larger tree: see `Cosigner.sightings`
    "malformed",  # not an answer of this protocol
    "bad_cosignature",
    "log_unreadable",  # our own tiles can't make the consistency proof
]


class Failure(msgspec.Struct, frozen=True):
    """Why a witness has not cosigned; `size` is what it says to have cosigned, if it is ahead."""

    witness: str
    reason: Reason
    message: str
    size: int = 0


class CosignResult(msgspec.Struct, frozen=True):
    """A checkpoint with the cosignatures that came in time, and what became of each witness.

    `lacking` is empty if the note satisfies the trust policy, otherwise it says what is missing.
    """

    note: str
    cosigned: tuple[str, ...]
    failures: tuple[Failure, ...]
    lacking: str
    seconds: float

    @property
    def witnessed(self) -> bool:
        """Whether the trust policy is satisfied."""
        return not self.lacking


class _Failed(Exception):
    def __init__(self, reason: Reason, message: str, size: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.size = size


class Cosigner:
    """Asks the witnesses of a trust policy about one log. Lives in one event loop; `close` it."""

    def __init__(
        self,
        policy: TrustPolicy,
        log: Source,
        remembered: Remembered,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.peers = peers_of(policy)
        self._policy = policy
        self._log = log
        self._remembered = remembered
        self._deadline_s = deadline_s
        self._sizes: dict[str, int] = {}
        self._http: aiohttp.ClientSession | None = None

    async def cosign(self, note: str) -> CosignResult:
        """Ask every witness that has a URL to cosign a published checkpoint, signed by the log.

        Returns when all have answered or the deadline is over. Cosignatures that were carried here for
        this very checkpoint are attached too.
        """
        began = time.monotonic()
        signed = SignedNote.parse(note)
        checkpoint = Checkpoint.parse(signed.text)
        node = TiledLog(self._log, checkpoint.size).node
        asked = [peer for peer in self.peers if peer.url]
        answers = await asyncio.gather(
            *(self._bounded(peer, self._ask(peer, signed, node)) for peer in asked)
        )
        cosigned = []
        failures = [answer for answer in answers if isinstance(answer, Failure)]
        for peer, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, Failure):
                cosigned.append(peer.name)
                signed = attach(signed, answer)
        for carried in await asyncio.to_thread(self._carried, signed.text):
            if isinstance(carried, Failure):
                failures.append(carried)
            else:
                cosigned.append(carried[0].name)
                signed = attach(signed, carried)
        await asyncio.to_thread(self._remember, signed, cosigned)
        lacking = reached(self._policy, signed)
        spent = time.monotonic() - began
        return CosignResult(encode_note(signed), tuple(cosigned), tuple(failures), lacking, spent)

    async def sightings(self, origin: str) -> tuple[list[Sighting], list[Failure]]:
        """What each witness holds of the log, where the log's own key has signed it.

        A witness can't make this up, so it may halt a log that has less, or something else.
        """
        former = [key for _, keys in self._policy.until for key in keys]  # may have signed what they saw
        log = TrustedLog(origin, tuple(key for key in (*self._policy.logs, *former) if key.name == origin))
        path = f"{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
        asked = [peer for peer in self.peers if peer.url]
        answers = await asyncio.gather(*(self._bounded(peer, self._see(peer, path, log)) for peer in asked))
        seen = [answer for answer in answers if isinstance(answer, Sighting)]
        return seen, [answer for answer in answers if isinstance(answer, Failure)]

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    def _carried(self, text: str) -> list[tuple[Signature, ...] | Failure]:
        """What witnesses without a URL have cosigned of this very checkpoint, as it was carried here."""
        found: list[tuple[Signature, ...] | Failure] = []
        for peer in self.peers:
            try:
                note = None if peer.url else self._remembered.latest(peer.name)
                if note and note.text == text:
                    found.append(cosignatures_of(peer, note))
            except (FormatError, NotVerified) as error:
                found.append(Failure(peer.name, "bad_cosignature", f"what was carried: {error}"))
        return found

    def _remember(self, note: SignedNote, cosigned: list[str]) -> None:
        try:
            for name in cosigned:
                self._remembered.keep(name, note)
        except OSError as error:  # the witnesses know their sizes: it costs a question next time
            _LOG.warning("can't remember what was cosigned", error=str(error))

    async def _bounded(self, peer: Peer, exchange: Awaitable[T]) -> T | Failure:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await exchange
        except _Failed as error:
            return Failure(peer.name, error.reason, str(error), error.size)
        except TimeoutError:
            return Failure(peer.name, "timeout", f"no answer within {self._deadline_s} s")
        except (aiohttp.ClientError, OSError) as error:
            return Failure(peer.name, "unreachable", f"{type(error).__name__}: {error}")

    async def _ask(self, peer: Peer, note: SignedNote, node: NodeHash) -> tuple[Signature, ...]:
        """One witness' cosignatures; if it has another size in mind than we remember, once more."""
        size = Checkpoint.parse(note.text).size
        old = self._sizes.get(peer.name)
        if old is None:
            old = await asyncio.to_thread(self._remembered.size, peer.name)
        status, body = await self._propose(peer, note, min(old, size), node)
        if status == 409:
            status, body = await self._propose(peer, note, self._latest_size(peer, body, size), node)
        if status != 200:
            raise _Failed("refused", f"HTTP status {status}: {body[:200].decode(errors='replace').strip()}")
        try:
            signatures = cosignatures_of(peer, parse_answer(note, body))
        except FormatError as error:
            raise _Failed("malformed", str(error)) from error
        except NotVerified as error:
            raise _Failed("bad_cosignature", str(error)) from error
        self._sizes[peer.name] = size
        return signatures

    async def _propose(self, peer: Peer, note: SignedNote, old: int, node: NodeHash) -> tuple[int, bytes]:
        try:
            request = await asyncio.to_thread(build_request, note, old, node)
        except (NotVerified, FormatError) as error:
            raise _Failed("log_unreadable", str(error)) from error
        return await self._exchange("POST", f"{peer.url}/add-checkpoint", request.encode())

    def _latest_size(self, peer: Peer, body: bytes, size: int) -> int:
        try:
            latest = decimal(body.decode("ascii", "replace").removesuffix("\n"), "size")
        except FormatError as error:
            raise _Failed("malformed", str(error)) from error
        if latest > size:
            raise _Failed("ahead", f"the witness has cosigned {latest} entries, this is {size}", latest)
        self._sizes[peer.name] = latest
        return latest

    async def _see(self, peer: Peer, path: str, log: TrustedLog) -> Sighting:
        status, body = await self._exchange("GET", f"{peer.url}/{path}", b"")
        if status != 200:
            raise _Failed("refused", f"HTTP status {status}")
        try:
            return sighting(SignedNote.parse(body), peer.name, log)
        except FormatError as error:
            raise _Failed("malformed", str(error)) from error
        except Refused as error:
            raise _Failed("bad_cosignature", str(error)) from error

    async def _exchange(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        """The status and the whole body, which must not be too long."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        headers = {"Accept-Encoding": "identity", "Content-Type": "text/plain; charset=utf-8"}
        async with self._http.request(
            method, url, data=body or None, headers=headers, allow_redirects=False
        ) as reply:
            content = bytearray()
            async for chunk in reply.content.iter_any():
                content += chunk
                if len(content) > MAX_REPLY:
                    raise _Failed("malformed", f"the answer is longer than {MAX_REPLY} bytes")
            return reply.status, bytes(content)
