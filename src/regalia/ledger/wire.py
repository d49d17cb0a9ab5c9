"""What a gateway and its ledger process say to each other over their socket pair.

A frame is its length (uint32, big-endian) and a msgpack body. Both ends are the same version of the same
code and one trusts the other. The answers to `Append` come in the order of its entries.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from regalia.errors import AuditUnavailable, RegaliaError
from regalia.ledger.entry import Entry
from regalia.ledger.erasing import Erasure, NothingToErase
from regalia.ledger.errors import (
    Archived,
    CallOpen,
    KeyUnusable,
    LedgerFailed,
    LedgerInvariantError,
    LedgerLocked,
    LogDamaged,
    LogWouldFork,
    ReceiptNotFound,
    SealedElsewhere,
)
from regalia.ledger.holds import NoSuchHold
from regalia.ledger.keeping import Action
from regalia.ledger.keys import KeyFiles
from regalia.storage import SchemaUnknown
from regalia.vault import ErasureUnderWay, RootKeyError, VaultError
from regalia.vault.retention import Held, RetentionError

HEADER = 4
_ERRORS: dict[str, type[RegaliaError]] = {
    error.__name__: error
    for error in (
        Archived, AuditUnavailable, CallOpen, KeyUnusable, LedgerFailed, LedgerInvariantError, LedgerLocked,
        LogDamaged, LogWouldFork, ReceiptNotFound, SchemaUnknown, SealedElsewhere,
        VaultError, RootKeyError, ErasureUnderWay, NothingToErase, RetentionError, Held, NoSuchHold,
    )
}  # fmt: skip


class Where(msgspec.Struct, frozen=True, array_like=True, tag="where"):
    """Which log to hold, and as whom. The first message to a ledger process."""

    data_dir: Path
    database_url: str
    process: str
    origin: str
    keys: KeyFiles
    root_key: str = ""
    """Where the vault's root key comes from, never the key; empty for the one that `init` makes."""


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """Entries to commit."""

    entries: list[Entry]


class Abort(msgspec.Struct, frozen=True, array_like=True, tag="abort"):
    """Calls that nobody will end; those that are open are to be closed."""

    id: int
    calls: list[str]


class Prove(msgspec.Struct, frozen=True, array_like=True, tag="prove"):
    """A receipt is wanted."""

    id: int
    call: str
    project: str | None


class Reveal(msgspec.Struct, frozen=True, array_like=True, tag="reveal"):
    """What was said in a call is wanted. The answer's text is the JSON of its parts."""

    id: int
    call: str


class Publish(msgspec.Struct, frozen=True, array_like=True, tag="publish"):
    """A checkpoint over at least `size` entries is wanted."""

    id: int
    size: int


class Attach(msgspec.Struct, frozen=True, array_like=True, tag="attach"):
    """A published checkpoint with its witnesses' cosignatures."""

    id: int
    note: str


class Erase(msgspec.Struct, frozen=True, array_like=True, tag="erase"):
    """Contents are to be erased. The answer's text is the erasure, as JSON."""

    id: int
    erasure: Erasure


class Keep(msgspec.Struct, frozen=True, array_like=True, tag="keep"):
    """What is kept, and for how long, is to change. The answer's text is what was done, as JSON."""

    id: int
    action: Action


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """An error on its way."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Problem":
        """The error as data; what is not ours to raise on purpose arrives as LedgerFailed."""
        if isinstance(error, AuditUnavailable):
            return cls("AuditUnavailable", error.reason)
        name = type(error).__name__
        return cls(name, str(error)) if name in _ERRORS else cls("LedgerFailed", f"{name}: {error}")

    def error(self) -> RegaliaError:
        """The error as it was raised."""
        return _ERRORS[self.kind](self.message)


class State(msgspec.Struct, frozen=True, array_like=True, tag="state"):
    """How the log stands. Sent first, then whenever it changes."""

    size: int
    published_size: int
    commit_failure: str | None
    publish_failure: str | None


class Appended(msgspec.Struct, frozen=True, array_like=True, tag="appended"):
    """The next `count` entries have the indices from `first`."""

    first: int
    count: int


class Mixed(msgspec.Struct, frozen=True, array_like=True, tag="mixed"):
    """The next entries have these indices, or these problems."""

    results: list[int | Problem]


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """The answer to the question `id`: a text or a problem."""

    id: int
    text: str
    problem: Problem | None = None


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The log can't be opened; the process ends."""

    problem: Problem


Request = Where | Append | Abort | Prove | Reveal | Publish | Attach | Erase | Keep
Reply = State | Appended | Mixed | Answer | Refused


def _to_wire(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def _from_wire(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)


_encode = msgspec.msgpack.Encoder(enc_hook=_to_wire).encode
decode_request = msgspec.msgpack.Decoder(Request, dec_hook=_from_wire).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Request | Reply) -> bytes:
    """A message ready to send."""
    body = _encode(message)
    return len(body).to_bytes(HEADER, "big") + body


class Unframer:
    """Cuts a stream of bytes into the bodies of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The bodies that are complete now."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= HEADER:
            end = start + HEADER + int.from_bytes(self._buffer[start : start + HEADER], "big")
            if end > len(self._buffer):
                break
            yield bytes(self._buffer[start + HEADER : end])
            start = end
        del self._buffer[:start]
