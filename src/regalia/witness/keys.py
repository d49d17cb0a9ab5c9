"""A witness' two keys, and the cosignatures they make (https://c2sp.org/tlog-cosignature).

Both keys bear the witness' name and sign the same checkpoint at the same time: Ed25519 (type 0x04) for
everyone, ML-DSA-44 (type 0x06) for when quantum computers can forge the former.
"""

import os
import stat
from pathlib import Path
from typing import Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from regalia.witness.errors import WitnessError
from regalia_verify.checkpoint import Checkpoint
from regalia_verify.note import (
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Signature,
    VerifierKey,
    cosignature_v1_message,
    cosigned_message,
)

MAX_KEY_FILE = 64 * 1024
_FILES = ("witness-ed25519.pem", "witness-mldsa44.pem")

K = TypeVar("K")


class WitnessKeys:
    """The private keys of one witness."""

    def __init__(self, name: str, ed25519: Ed25519PrivateKey, mldsa44: MLDSA44PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa44 = mldsa44
        self.public = (
            VerifierKey.create(name, ED25519_COSIGNATURE, ed25519.public_key().public_bytes_raw()),
            VerifierKey.create(name, MLDSA44_COSIGNATURE, mldsa44.public_key().public_bytes_raw()),
        )

    @classmethod
    def create(cls, directory: Path, name: str) -> Self:
        """Make both keys in `directory`; never replaces one. Raises WitnessError."""
        ed25519, mldsa44 = Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for file, content in zip(
            _FILES, (ed25519.private_bytes(*pem), mldsa44.private_bytes(*pem)), strict=True
        ):
            _write_new(directory / file, content)
        return cls(name, ed25519, mldsa44)

    @classmethod
    def load(cls, directory: Path, name: str) -> Self:
        """Read both keys. Raises WitnessError."""
        ed25519, mldsa44 = (directory / file for file in _FILES)
        return cls(
            name,
            _load(ed25519, Ed25519PrivateKey),  # type: ignore[type-abstract]  # for isinstance only
            _load(mldsa44, MLDSA44PrivateKey),  # type: ignore[type-abstract]
        )

    def cosign(self, checkpoint: Checkpoint, seconds: int) -> tuple[Signature, Signature]:
        """Both cosignatures; `seconds` since the epoch is when."""
        stamp = seconds.to_bytes(8, "big")
        ed25519, mldsa44 = self.public
        classic = self._ed25519.sign(cosignature_v1_message(checkpoint.text(), seconds))
        quantum = self._mldsa44.sign(cosigned_message(mldsa44.name, checkpoint, seconds))
        return (
            Signature(ed25519.name, ed25519.key_id, stamp + classic),
            Signature(mldsa44.name, mldsa44.key_id, stamp + quantum),
        )


def _write_new(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise WitnessError(f"the key {path} can't be made: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _load(path: Path, kind: type[K]) -> K:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(MAX_KEY_FILE)
        if mode & 0o077:
            raise WitnessError(f"the key {path} has mode {mode:04o}: others may read it; `chmod 600 {path}`")
        key = load_pem_private_key(pem, None)
    except OSError as error:
        raise WitnessError(f"the key {path} can't be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WitnessError(f"the key {path} is not an unencrypted PKCS8 key: {error}") from error
    if not isinstance(key, kind):
        raise WitnessError(f"the key {path} is not an {kind.__name__.removesuffix('PrivateKey')} key")
    return key
