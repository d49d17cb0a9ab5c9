"""The log's two signing keys, the checkpoints they sign, and the policy by which others check them.

A checkpoint is signed with Ed25519 (signed-note type 0x01) and with ML-DSA-44 (tlog-cosignature type
0x06), both under the log's origin as the key's name. A tlog-policy accepts a log by any one of its
keys, so `policy_text` demands the post-quantum signature through the quorum.
"""

import os
import stat
from pathlib import Path
from typing import Protocol, Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from regalia.ledger.errors import KeyUnusable
from regalia_verify.checkpoint import Checkpoint
from regalia_verify.note import (
    ED25519,
    MLDSA44_COSIGNATURE,
    Signature,
    SignedNote,
    VerifierKey,
    cosigned_message,
)

MAX_KEY_FILE = 64 * 1024


class KeyFiles(msgspec.Struct, frozen=True):
    """Where the log's signing keys lie: PKCS8 PEM, readable by their owner only."""

    ed25519: Path
    mldsa44: Path

    @classmethod
    def under(cls, directory: Path) -> Self:
        """The usual names in an instance's key directory."""
        return cls(directory / "log-ed25519.pem", directory / "log-mldsa44.pem")


class Signer(Protocol):
    """Signs checkpoints: the seam for keys that are not in files."""

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The public keys, in the order of their signatures."""

    def sign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """The signed note; `seconds` since the epoch is when. Raises KeyUnusable."""


class FileSigner:
    """Signs with keys read from their files each time, so a key that is back works again at once."""

    def __init__(self, files: KeyFiles, origin: str) -> None:
        self._files = files
        self._origin = origin
        ed25519, mldsa44 = _load(files)
        self.keys = _verifier_keys(origin, ed25519, mldsa44)

    def sign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """Both signatures; refuses if the files hold other keys than when this signer was made."""
        ed25519, mldsa44 = _load(self._files)
        keys = _verifier_keys(self._origin, ed25519, mldsa44)
        if keys != self.keys:
            raise KeyUnusable(
                f"a key file in {self._files.ed25519.parent} no longer holds the log's key: put it back"
            )
        text = checkpoint.text()
        blobs = (
            ed25519.sign(text.encode()),
            seconds.to_bytes(8, "big") + mldsa44.sign(cosigned_message(self._origin, checkpoint, seconds)),
        )
        signatures = tuple(
            Signature(key.name, key.key_id, blob) for key, blob in zip(keys, blobs, strict=True)
        )
        return SignedNote(text, signatures).encode()


def create_keys(files: KeyFiles) -> None:
    """Make both keys; never replaces one (FileExistsError)."""
    for path, key in (
        (files.ed25519, Ed25519PrivateKey.generate()),
        (files.mldsa44, MLDSA44PrivateKey.generate()),
    ):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - the descriptor carries the mode
            file.write(pem)
            file.flush()
            os.fsync(descriptor)


def verifier_keys(files: KeyFiles, origin: str) -> tuple[VerifierKey, VerifierKey]:
    """The public keys (Ed25519, ML-DSA-44) as others write them."""
    return _verifier_keys(origin, *_load(files))


def policy_text(files: KeyFiles, origin: str) -> str:
    """The tlog-policy that an auditor pins: the log, and its own post-quantum signature as the quorum."""
    ed25519, mldsa44 = verifier_keys(files, origin)
    return f"log {ed25519.encode()}\nwitness log-pq {mldsa44.encode()}\nquorum log-pq\n"


def _verifier_keys(
    origin: str, ed25519: Ed25519PrivateKey, mldsa44: MLDSA44PrivateKey
) -> tuple[VerifierKey, VerifierKey]:
    return (
        VerifierKey.create(origin, ED25519, ed25519.public_key().public_bytes_raw()),
        VerifierKey.create(origin, MLDSA44_COSIGNATURE, mldsa44.public_key().public_bytes_raw()),
    )


def _load(files: KeyFiles) -> tuple[Ed25519PrivateKey, MLDSA44PrivateKey]:
    ed25519, mldsa44 = _load_key(files.ed25519), _load_key(files.mldsa44)
    if not isinstance(ed25519, Ed25519PrivateKey):
        raise KeyUnusable(f"the key {files.ed25519} is not an Ed25519 key")
    if not isinstance(mldsa44, MLDSA44PrivateKey):
        raise KeyUnusable(f"the key {files.mldsa44} is not an ML-DSA-44 key")
    return ed25519, mldsa44


def _load_key(path: Path) -> object:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(MAX_KEY_FILE)
    except OSError as error:
        raise KeyUnusable(f"the key {path} can't be read: {error.strerror}") from error
    if mode & 0o077:
        raise KeyUnusable(f"the key {path} has mode {mode:04o}, so others may read it: `chmod 600 {path}`")
    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"the key {path} is not an unencrypted PKCS8 key: {error}") from error
