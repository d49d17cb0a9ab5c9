"""The log's keys: the pair that signs, the root that lets it be replaced, and the pairs there were before.

A checkpoint is signed with Ed25519 (signed-note type 0x01) and with ML-DSA-44 (tlog-cosignature type
0x06), both under the log's origin as the key's name. A tlog-policy accepts a log by any one of its
keys, so `policy_text` demands the post-quantum signature through the quorum. What is public of the keys'
past stands in `log.json` beside them.
"""

from pathlib import Path
from typing import Protocol, Self

import msgspec

from regalia.keyfile import KeyUnusable, PrivateKey, generate_pair, load_pair, write_pair
from regalia.notes import checkpoint_text, encode_note
from regalia_verify.errors import FormatError
from regalia_verify.note import (
    ED25519,
    MLDSA44_COSIGNATURE,
    Checkpoint,
    Signature,
    SignedNote,
    VerifierKey,
    cosigned_message,
)
from regalia_verify.strict import base64_text

Keys = tuple[VerifierKey, ...]


class KeyFiles(msgspec.Struct, frozen=True):
    """Where the log's signing keys lie: PKCS8 PEM, readable by their owner only."""

    ed25519: Path
    mldsa44: Path

    @classmethod
    def under(cls, directory: Path, name: str = "log") -> Self:
        """The usual names in an instance's key directory; `name` is "root" for the root's."""
        return cls(directory / f"{name}-ed25519.pem", directory / f"{name}-mldsa44.pem")

    @property
    def past(self) -> Path:
        """What is public of the log's keys, and outlives them."""
        return self.ed25519.with_name("log.json")

    @property
    def next(self) -> Path:
        """Where keys wait until the record that brings them in is durable."""
        return self.ed25519.with_name("next")


class Former(msgspec.Struct, frozen=True):
    """Keys that were replaced by the record at index `last`: no larger checkpoint is signed by them."""

    last: int
    keys: tuple[str, ...]


class Past(msgspec.Struct, frozen=True):
    """`log.json`: the root's verifier keys, the log's former ones, and the end of the log it continues."""

    root: tuple[str, ...] = ()
    former: tuple[Former, ...] = ()
    previous: dict[str, str | int] | None = None


class LogKeys(msgspec.Struct, frozen=True):
    """The public keys of a log, now and then."""

    current: Keys
    past: Past

    def at(self, size: int) -> Keys:
        """The keys that sign a checkpoint of this size."""
        for former in self.past.former:
            if size <= former.last:
                return tuple(map(VerifierKey.parse, former.keys))
        return self.current

    @property
    def rotations(self) -> list[int]:
        """Where the records `log.key_rotated` are."""
        return [former.last for former in self.past.former]


class Signer(Protocol):
    """Signs checkpoints: the seam for keys that are not in files."""

    @property
    def keys(self) -> LogKeys:
        """The public keys, each pair in the order of its signatures."""

    def refresh(self) -> None:
        """Take notice of a rotation since; raises KeyUnusable."""

    def sign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """The signed note; `seconds` since the epoch is when. Raises KeyUnusable."""


class FileSigner:
    """Signs with keys read from their files each time, so a key that is back works again at once."""

    def __init__(self, files: KeyFiles, origin: str) -> None:
        self._files = files
        self._origin = origin
        self.keys = log_keys(files, origin)

    def refresh(self) -> None:
        """Take the keys that came by a rotation, and no others."""
        if len(read_past(self._files).former) > len(self.keys.past.former):
            self.keys = log_keys(self._files, self._origin)

    def sign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """Both signatures; refuses if the files hold other keys than the log has at this size."""
        ed25519, mldsa44 = load_pair(self._files.ed25519, self._files.mldsa44)
        keys = public_keys((ed25519, mldsa44), self._origin)
        if keys != self.keys.at(checkpoint.size):
            raise KeyUnusable(
                f"a key file in {self._files.ed25519.parent} no longer holds the log's key: put it back"
            )
        text = checkpoint_text(checkpoint)
        blobs = (
            ed25519.sign(text.encode()),
            seconds.to_bytes(8, "big") + mldsa44.sign(cosigned_message(self._origin, checkpoint, seconds)),
        )
        signatures = tuple(
            Signature(key.name, key.key_id, blob) for key, blob in zip(keys, blobs, strict=True)
        )
        return encode_note(SignedNote(text, signatures))


def create_keys(files: KeyFiles) -> None:
    """Make both keys; never replaces one (FileExistsError)."""
    write_pair(files.ed25519, files.mldsa44, generate_pair())


def log_keys(files: KeyFiles, origin: str) -> LogKeys:
    """The public keys, now and then. Raises KeyUnusable."""
    return LogKeys(verifier_keys(files, origin), read_past(files))


def verifier_keys(files: KeyFiles, name: str) -> tuple[VerifierKey, VerifierKey]:
    """The public keys (Ed25519, ML-DSA-44) as others write them. Raises KeyUnusable."""
    return public_keys(load_pair(files.ed25519, files.mldsa44), name)


def public_keys(pair: tuple[PrivateKey, PrivateKey], name: str) -> tuple[VerifierKey, VerifierKey]:
    """The public half of a pair."""
    ed25519, mldsa44 = pair
    return (
        VerifierKey.create(name, ED25519, ed25519.public_key().public_bytes_raw()),
        VerifierKey.create(name, MLDSA44_COSIGNATURE, mldsa44.public_key().public_bytes_raw()),
    )


def root_name(origin: str) -> str:
    """The name that the keys of a log's root bear."""
    return f"{origin}/root"


def sign_statement(pair: tuple[PrivateKey, PrivateKey], statement: bytes) -> list[str]:
    """The signatures of both keys, as records hold them."""
    return [base64_text(key.sign(statement)) for key in pair]


def read_past(files: KeyFiles) -> Past:
    """What `log.json` says; nothing, where the log is older than such files. Raises KeyUnusable."""
    try:
        past = msgspec.json.decode(files.past.read_bytes(), type=Past)
        for former in past.former:
            tuple(map(VerifierKey.parse, former.keys))
    except FileNotFoundError:
        return Past()
    except (OSError, msgspec.DecodeError, FormatError) as error:
        raise KeyUnusable(f"can't read {files.past}: {error}; bring it back from a backup") from error
    return past


def policy_text(files: KeyFiles, origin: str) -> str:
    """The tlog-policy that an auditor pins: the log, and its own post-quantum signature as the quorum.

    Comment lines name the root and the former keys, which `regalia-verify` understands. Raises KeyUnusable.
    """
    ed25519, mldsa44 = (key.encode() for key in log_keys(files, origin).current)
    return renewed_policy(f"log {ed25519}\nwitness log-pq {mldsa44}\nquorum log-pq\n", files, origin)


def renewed_policy(text: str, files: KeyFiles, origin: str) -> str:
    """A trust policy with the log's present keys in place of former ones. Raises KeyUnusable."""
    if files.next.exists():
        raise KeyUnusable(
            "a change of the log's keys was interrupted: start the server once, it goes on there"
        )
    keys = log_keys(files, origin)
    past = keys.past
    lines = [line for line in text.splitlines() if not _is_about_keys(line, origin)]
    for former in past.former:
        for old, new in zip(former.keys, keys.current, strict=True):
            lines = [line.replace(old, new.encode()) for line in lines]
    comments = [f"# regalia-root {' '.join(past.root)}"] if past.root else []
    comments += [f"# regalia-until {former.last} {' '.join(former.keys)}" for former in past.former]
    return "\n".join([*comments, *lines]) + "\n"


def _is_about_keys(line: str, origin: str) -> bool:
    """Whether a comment names this log's root or former keys, which are said anew."""
    words = line.split()
    return words[:2] in (["#", "regalia-root"], ["#", "regalia-until"]) and any(
        word.startswith((f"{origin}+", f"{root_name(origin)}+")) for word in words
    )
