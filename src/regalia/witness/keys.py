"""A witness' two keys, and the cosignatures they make (https://c2sp.org/tlog-cosignature).

Both keys bear the witness' name and sign the same checkpoint at the same time: Ed25519 (type 0x04) for
everyone, ML-DSA-44 (type 0x06) for when quantum computers can forge the former.
"""

from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from regalia.keyfile import KeyUnusable, generate_pair, load_pair, write_missing_pair
from regalia.notes import checkpoint_text
from regalia.witness.errors import WitnessError
from regalia_verify.note import (
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Checkpoint,
    Signature,
    VerifierKey,
    cosignature_v1_message,
    cosigned_message,
)

_FILES = ("witness-ed25519.pem", "witness-mldsa44.pem")


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
        """Make both keys in `directory`, or those that are missing. Raises WitnessError."""
        try:
            write_missing_pair(directory / _FILES[0], directory / _FILES[1], generate_pair())
        except OSError as error:
            raise WitnessError(f"the keys in {directory} can't be made: {error.strerror}") from error
        return cls.load(directory, name)

    @classmethod
    def exist(cls, directory: Path) -> bool:
        """Whether a key has been made in `directory`."""
        return any((directory / name).exists() for name in _FILES)

    @classmethod
    def load(cls, directory: Path, name: str) -> Self:
        """Read both keys. Raises WitnessError."""
        try:
            return cls(name, *load_pair(directory / _FILES[0], directory / _FILES[1]))
        except KeyUnusable as error:
            raise WitnessError(str(error)) from error

    def cosign(self, checkpoint: Checkpoint, seconds: int) -> tuple[Signature, Signature]:
        """Both cosignatures; `seconds` since the epoch is when."""
        stamp = seconds.to_bytes(8, "big")
        ed25519, mldsa44 = self.public
        classic = self._ed25519.sign(cosignature_v1_message(checkpoint_text(checkpoint), seconds))
        quantum = self._mldsa44.sign(cosigned_message(mldsa44.name, checkpoint, seconds))
        return (
            Signature(ed25519.name, ed25519.key_id, stamp + classic),
            Signature(mldsa44.name, mldsa44.key_id, stamp + quantum),
        )
