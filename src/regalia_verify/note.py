"""Signed notes (https://c2sp.org/signed-note), the checkpoints that they hold, and their cosignatures.

A checkpoint (https://c2sp.org/tlog-checkpoint) is a log's name, size and root hash. Extension lines are
refused: ML-DSA-44 cosignatures (https://c2sp.org/tlog-cosignature) do not cover them. Three signature
types are known: 0x01 (Ed25519 over the text), 0x04 (Ed25519 over the text and a time) and 0x06
(ML-DSA-44 over a binary statement about a tree, with the signer's name and a time).
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .errors import FormatError, NotVerified
from .merkle import EMPTY_ROOT, HASH_SIZE
from .strict import MAX_DECIMAL, base64_bytes, base64_text, decimal, utf8_lines

ED25519, ED25519_COSIGNATURE, MLDSA44_COSIGNATURE = 0x01, 0x04, 0x06
ALGORITHMS: dict[int, tuple[type[Ed25519PublicKey | MLDSA44PublicKey], int, int]] = {
    ED25519: (Ed25519PublicKey, 32, 64),  # the lengths of key and signature
    ED25519_COSIGNATURE: (Ed25519PublicKey, 32, 8 + 64),  # the time comes first
    MLDSA44_COSIGNATURE: (MLDSA44PublicKey, 1312, 8 + 2420),
}
LOG_TYPES = {ED25519: "Ed25519", MLDSA44_COSIGNATURE: "ML-DSA-44"}
WITNESS_TYPES = {ED25519_COSIGNATURE, MLDSA44_COSIGNATURE}
MAX_TEXT = 1024  # of a checkpoint
MAX_NOTE = 512 * 1024
MAX_SIGNATURES = 100
MAX_NAME = 255  # of a key or an origin: what a `cosigned_message` can hold
DASH = "\u2014 "


@dataclass(frozen=True)
class Checkpoint:
    """The text that a checkpoint's signatures are about."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read exactly three lines; raise FormatError for anything else."""
        lines = utf8_lines(text, "checkpoint", MAX_TEXT).split("\n")
        if len(lines) != 4 or lines[3] or not 1 <= len(lines[0].encode()) <= MAX_NAME:
            raise FormatError(f"checkpoint: expected an origin of 1 to {MAX_NAME} bytes, a size and a root")
        size = decimal(lines[1], "checkpoint size")
        root = base64_bytes(lines[2], "checkpoint root", HASH_SIZE)
        if size == 0 and root != EMPTY_ROOT:
            raise FormatError("checkpoint: the root of an empty log is SHA-256 of nothing")
        return cls(lines[0], size, root)


@dataclass(frozen=True)
class VerifierKey:
    """A public key as policy files write it: `name+id+base64(type || public)`."""

    name: str
    key_id: bytes
    type: int
    public: bytes

    @classmethod
    def create(cls, name: str, key_type: int, public: bytes) -> Self:
        """The verifier key for raw public key bytes; its id is their hash."""
        key_id = sha256(name.encode() + b"\n" + bytes([key_type]) + public).digest()[:4]
        return cls(name, key_id, key_type, public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey; its id must be the one its content demands."""
        parts = text.split("+", 2)  # base64 may contain a plus, a name may not
        if len(parts) != 3:
            raise FormatError("verifier key: expected name+id+key")
        name = _checked_name(parts[0])
        blob = base64_bytes(parts[2], "verifier key")
        if not blob or blob[0] not in ALGORITHMS or len(blob) != 1 + ALGORITHMS[blob[0]][1]:
            raise FormatError(f"verifier key {name}: unknown type or wrong length")
        key = cls.create(name, blob[0], blob[1:])
        if key.key_id.hex() != parts[1]:
            raise FormatError(f"verifier key {name}: its id should be {key.key_id.hex()}")
        return key

    def encode(self) -> str:
        """The vkey as text."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.type]) + self.public)}"


@dataclass(frozen=True)
class Signature:
    """One signature line, not yet verified; of a cosignature (0x04, 0x06), the time leads the blob."""

    name: str
    key_id: bytes
    blob: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line without its newline."""
        name, space, encoded = line.removeprefix(DASH).partition(" ")
        blob = base64_bytes(encoded, "note signature")
        if not line.startswith(DASH) or not space or len(blob) < 5:
            raise FormatError("note: a line below the text is not a signature line")
        return cls(_checked_name(name), blob[:4], blob[4:])

    @property
    def timestamp(self) -> int:
        """The time of a cosignature, in seconds since the epoch."""
        return int.from_bytes(self.blob[:8], "big")


@dataclass(frozen=True)
class SignedNote:
    """A text and the signatures below it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a note; the signatures are the lines after the last empty line."""
        text, gap, block = utf8_lines(data, "note", MAX_NOTE).rpartition("\n\n")
        if not gap or not block.endswith("\n"):
            raise FormatError("note: expected text, an empty line and signature lines")
        lines = block[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise FormatError(f"note: more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.parse(line) for line in lines))


def cosignature_v1_message(text: str, timestamp: int) -> bytes:
    """What a type 0x04 cosignature signs."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def cosigned_message(cosigner: str, checkpoint: Checkpoint, timestamp: int) -> bytes:
    """What a type 0x06 cosignature of a whole tree signs."""
    name, origin = cosigner.encode(), checkpoint.origin.encode()
    signer = bytes([len(name)]) + name + timestamp.to_bytes(8, "big")
    leaves = bytes(8) + checkpoint.size.to_bytes(8, "big")  # from 0 to the size
    return b"subtree/v1\n\x00" + signer + bytes([len(origin)]) + origin + leaves + checkpoint.root


def verify(text: str, signature: Signature, key: VerifierKey) -> None:
    """Check one signature over a note's text (for 0x06, a checkpoint); raise NotVerified otherwise."""
    public_key, _, length = ALGORITHMS[key.type]
    time, signed = signature.timestamp, signature.blob[8:]
    if key.type == ED25519:
        time, signed, message = 0, signature.blob, text.encode()
    elif key.type == ED25519_COSIGNATURE:
        message = cosignature_v1_message(text, time)
    else:
        message = cosigned_message(key.name, Checkpoint.parse(text), time)
    try:
        public_key.from_public_bytes(key.public).verify(signed, message)
        genuine = (signature.name, signature.key_id, len(signature.blob)) == (key.name, key.key_id, length)
    except InvalidSignature:
        genuine = False
    if not genuine or time > MAX_DECIMAL:
        raise NotVerified("bad_signature", f"the signature of {key.name} is not valid")


def _checked_name(name: str) -> str:
    utf8_lines(name, "key name", MAX_NAME)
    if not name or "+" in name or any(character.isspace() for character in name):
        raise FormatError("key name: must not be empty, nor contain spaces or plus signs")
    return name
