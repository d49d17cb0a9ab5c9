"""A witness: its keys, its book, its evidence, and the one thing it does (see `decision` for the rules).

    W/witness.json   name, created (ms)
    W/keys/          witness-ed25519.pem, witness-mldsa44.pem: PKCS8 PEM, 0600
    W/witness.db     the book: trusted logs and cosigned checkpoints
    W/evidence/      logs that contradicted themselves

The book must never be restored from a backup: a witness that forgets vouches for a fork. One that has
lost its book needs a new name and new keys.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import msgspec
import structlog

from regalia.clock import now_ms
from regalia.keyfile import write_private
from regalia.notes import encode_note
from regalia.witness.book import Book, Entry
from regalia.witness.decision import Known, TrustedLog, check_growth, log_signatures
from regalia.witness.errors import Refused, WitnessError
from regalia.witness.evidence import Evidence
from regalia.witness.keys import WitnessKeys
from regalia.witness.request import AddCheckpoint
from regalia_verify.errors import FormatError
from regalia_verify.note import MAX_NAME, Signature, SignedNote, VerifierKey
from regalia_verify.policy import TrustPolicy

_LOG = structlog.get_logger()


class Profile(msgspec.Struct, frozen=True):
    """`witness.json`."""

    name: str
    created: int


class Witness:
    """An open witness. Not for several threads at once: callers take turns."""

    def __init__(
        self, data_dir: Path, profile: Profile, keys: WitnessKeys, book: Book, clock: Callable[[], int]
    ) -> None:
        self.name = profile.name
        self.keys = keys.public
        self.evidence = Evidence(data_dir / "evidence")
        self._keys = keys
        self._book = book
        self._clock = clock

    @classmethod
    def create(cls, data_dir: Path, name: str, clock: Callable[[], int] = now_ms) -> Self:
        """Make a witness with new keys and an empty book in `data_dir`. Raises WitnessError.

        What was interrupted is finished by the same call. The book comes before the keys: keys without a
        book are a witness that has lost it, and it must not begin to forget.
        """
        if not 1 <= len(name.encode()) <= MAX_NAME or any(mark.isspace() or mark == "+" for mark in name):
            raise WitnessError(
                f"the name {name!r} must have neither spaces nor `+`, like a URL without https://"
            )
        if (data_dir / "witness.json").exists():
            raise WitnessError(f"{data_dir} already holds a witness; choose another --data-dir")
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        (data_dir / "evidence").mkdir(exist_ok=True, mode=0o700)
        if WitnessKeys.exist(data_dir / "keys") and not (data_dir / "witness.db").exists():
            raise WitnessError(
                f"{data_dir} holds the keys of a witness that has lost its book: it needs a new name and new "
                "keys, so choose another --data-dir"
            )
        book = Book.create(data_dir / "witness.db")
        keys = WitnessKeys.create(data_dir / "keys", name)
        profile = Profile(name, clock())
        write_private(data_dir / "witness.json", msgspec.json.encode(profile))
        return cls(data_dir, profile, keys, book, clock)

    @classmethod
    def open(cls, data_dir: Path, clock: Callable[[], int] = now_ms) -> Self:
        """Open the witness in `data_dir`. Raises WitnessError."""
        try:
            profile = msgspec.json.decode((data_dir / "witness.json").read_bytes(), type=Profile)
        except FileNotFoundError as error:
            raise WitnessError(
                f"{data_dir} holds no witness; make one: "
                f"regalia witness init --data-dir {data_dir} --name NAME"
            ) from error
        except (OSError, msgspec.DecodeError) as error:
            raise WitnessError(f"can't read {data_dir / 'witness.json'}: {error}") from error
        keys = WitnessKeys.load(data_dir / "keys", profile.name)
        return cls(data_dir, profile, keys, Book.open(data_dir / "witness.db"), clock)

    def close(self) -> None:
        """Close the book."""
        self._book.close()

    def trust(self, policy: str | bytes) -> list[TrustedLog]:
        """Trust every log of a tlog-policy, replacing the keys of those already trusted.

        Raises WitnessError.
        """
        logs = logs_of(policy)
        for log in logs:
            self._book.trust(log)
        return logs

    def logs(self) -> list[tuple[TrustedLog, Entry | None]]:
        """The trusted logs, each with its latest cosigned checkpoint."""
        return [(log, self._book.latest(log.origin)) for log in self._book.logs()]

    def latest(self, origin_hash: str) -> str | None:
        """The latest cosigned note of the log whose origin has this SHA-256 (lowercase hex), if any."""
        for log in self._book.logs():
            if hashlib.sha256(log.origin.encode()).hexdigest() == origin_hash:
                entry = self._book.latest(log.origin)
                return entry.note if entry else None
        return None

    def cosign(self, request: AddCheckpoint) -> tuple[Signature, ...]:
        """Check, persist, and only then return the cosignatures. Raises Refused.

        A refusal that shows a log contradicting itself is kept as evidence before it is raised.
        """
        checkpoint = request.checkpoint
        log = self._book.log(checkpoint.origin)
        if log is None:
            raise Refused(404, "unknown_log", f"this witness does not know the log {checkpoint.origin}")
        signed = log_signatures(request.note, log)
        cosignatures: tuple[Signature, ...] = ()

        def decide(known: Known, earliest: int) -> Entry:
            nonlocal cosignatures
            check_growth(request, known)
            seconds = max(self._clock() // 1000, earliest)
            cosignatures = self._keys.cosign(checkpoint, seconds)
            note = encode_note(SignedNote(signed.text, (*signed.signatures, *cosignatures)))
            return Entry(checkpoint, seconds, note)

        try:
            self._book.enter(log, checkpoint.size, decide)
        except Refused as refusal:
            self._keep(refusal, msgspec.structs.replace(request, note=signed))
            raise
        return cosignatures

    def _keep(self, refusal: Refused, request: AddCheckpoint) -> None:
        origin, size = request.checkpoint.origin, request.checkpoint.size
        if not refusal.suspicion:
            return
        same = self._book.at(origin, size) if refusal.suspicion == "equivocation" else None
        cosigned = same or self._book.latest(origin)
        if cosigned is None:
            return
        report = _LOG.bind(
            kind=refusal.suspicion, log=origin, cosigned=cosigned.checkpoint.size, submitted=size
        )
        try:
            place = self.evidence.keep(refusal.suspicion, cosigned, request, self._clock())
        except OSError as error:  # the refusal stands, and both notes go where the report goes
            report.error(
                "evidence can't be kept", exc_info=error, notes=(cosigned.note, encode_note(request.note))
            )
        else:
            known = "kept before, or the folder is full"
            report.error("a log contradicts itself", evidence=str(place) if place else known)


def logs_of(policy: str | bytes) -> list[TrustedLog]:
    """The logs of a tlog-policy. A witness line named like a log is another key of that log."""
    try:
        parsed = TrustPolicy.parse(policy)
    except FormatError as error:
        raise WitnessError(str(error)) from error
    origins = dict.fromkeys(key.name for key in parsed.logs)
    return [
        TrustedLog(origin, _named(origin, parsed.logs), _named(origin, parsed.witnesses.values()))
        for origin in origins
    ]


def _named(name: str, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    return tuple(key for key in keys if key.name == name)
