"""Signed notes (https://c2sp.org/signed-note) and cosignatures (https://c2sp.org/tlog-cosignature).

Three signature types are known: 0x01 (Ed25519 over the text), 0x04 (Ed25519 over the text and a
time) and 0x06 (ML-DSA-44 over a binary statement about a tree, with the signer's name and a time).
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .checkpoint import Checkpoint
from .errors import FormatError, NotVerified
from .strict import MAX_DECIMAL, base64_bytes, base64_text, utf8_lines

ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
MLDSA44_COSIGNATURE = 0x06
PUBLIC_SIZE = {ED25519: 32, ED25519_COSIGNATURE: 32, MLDSA44_COSIGNATURE: 1312}
SIGNATURE_SIZE = {ED25519: 64, ED25519_COSIGNATURE: 8 + 64, MLDSA44_COSIGNATURE: 8 + 2420}

MAX_NOTE = 512 * 1024
MAX_SIGNATURES = 100
MAX_NAME = 255
KEY_ID = re.compile(r"[0-9a-f]{8}")
DASH = "\u2014 "


def key_id(name: str, key_type: int, public: bytes) -> bytes:
    """The four bytes that, with the name, tell a signature's key."""
    return sha256(name.encode() + b"\n" + bytes([key_type]) + public).digest()[:4]


@dataclass(frozen=True)
class VerifierKey:
    """A public key as policy files write it: `name+id+base64(type || public)`."""

    name: str
    key_id: bytes
    type: int
    public: bytes

    @classmethod
    def create(cls, name: str, key_type: int, public: bytes) -> Self:
        """The verifier key for raw public key bytes."""
        return cls(name, key_id(name, key_type, public), key_type, public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey; its id must be the one its content demands."""
        parts = text.split("+", 2)  # base64 may contain a plus, a name may not
        if len(parts) != 3 or not KEY_ID.fullmatch(parts[1]):
            raise FormatError("verifier key: expected name+id+key")
        name = _checked_name(parts[0])
        blob = base64_bytes(parts[2], "verifier key")
        if not blob or len(blob) - 1 != PUBLIC_SIZE.get(blob[0]):
            raise FormatError(f"verifier key {name}: unknown type or wrong length")
        key = cls.create(name, blob[0], blob[1:])
        if key.key_id.hex() != parts[1]:
            raise FormatError(f"verifier key {name}: its id should be {key.key_id.hex()}, not {parts[1]}")
        try:
            key._loaded()
        except ValueError as error:
            raise FormatError(f"verifier key {name}: not a valid public key") from error
        return key

    def encode(self) -> str:
        """The vkey as text."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.type]) + self.public)}"

    def _loaded(self) -> Ed25519PublicKey | MLDSA44PublicKey:
        if self.type == MLDSA44_COSIGNATURE:
            return MLDSA44PublicKey.from_public_bytes(self.public)
        return Ed25519PublicKey.from_public_bytes(self.public)


@dataclass(frozen=True)
class Signature:
    """One signature line, not yet verified."""

    name: str
    key_id: bytes
    blob: bytes

    @property
    def timestamp(self) -> int:
        """The time that a cosignature (0x04, 0x06) carries, in seconds since the epoch."""
        return int.from_bytes(self.blob[:8], "big")


@dataclass(frozen=True)
class SignedNote:
    """A text and the signatures below it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a note; the signatures are the lines after the last empty line."""
        note = utf8_lines(data, "note", MAX_NOTE)
        text, gap, block = note.rpartition("\n\n")
        if not gap or not block.endswith("\n"):
            raise FormatError("note: expected text, an empty line and signature lines")
        lines = block[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise FormatError(f"note: more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(_parse_signature(line) for line in lines))

    def encode(self) -> str:
        """The note as text."""
        lines = [signature_line(s.name, s.key_id, s.blob) for s in self.signatures]
        return f"{self.text}\n{''.join(lines)}"


def signature_line(name: str, key_id: bytes, signature: bytes) -> str:
    """A signature line, newline included; `signature` is what follows the key id (time included)."""
    return f"{DASH}{name} {base64_text(key_id + signature)}\n"


def cosignature_v1_message(text: str, timestamp: int) -> bytes:
    """What a type 0x04 cosignature signs."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def cosigned_message(cosigner: str, checkpoint: Checkpoint, timestamp: int) -> bytes:
    """What a type 0x06 cosignature of a whole tree signs."""
    name, origin = cosigner.encode(), checkpoint.origin.encode()
    return b"".join([
        b"subtree/v1\n\x00",
        bytes([len(name)]),
        name,
        timestamp.to_bytes(8, "big"),
        bytes([len(origin)]),
        origin,
        bytes(8),
        checkpoint.size.to_bytes(8, "big"),
        checkpoint.root,
    ])  # fmt: skip


def verify(text: str, signature: Signature, key: VerifierKey) -> None:
    """Check one signature over a note's text (for 0x06, a checkpoint); raise NotVerified otherwise."""
    try:
        _verify(text, signature, key)
    except InvalidSignature as error:
        raise NotVerified("bad_signature", f"the signature of {key.name} is not valid") from error


def _verify(text: str, signature: Signature, key: VerifierKey) -> None:
    if (signature.name, signature.key_id) != (key.name, key.key_id):
        raise InvalidSignature
    if len(signature.blob) != SIGNATURE_SIZE[key.type]:
        raise InvalidSignature
    if key.type == ED25519:
        key._loaded().verify(signature.blob, text.encode())
        return
    if signature.timestamp > MAX_DECIMAL:
        raise InvalidSignature
    if key.type == ED25519_COSIGNATURE:
        message = cosignature_v1_message(text, signature.timestamp)
    else:
        message = cosigned_message(key.name, Checkpoint.parse(text), signature.timestamp)
    key._loaded().verify(signature.blob[8:], message)


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not space:
        raise FormatError("note: a line below the text is not a signature line")
    blob = base64_bytes(encoded, "note signature")
    if len(blob) < 5:
        raise FormatError("note: a signature is shorter than 5 bytes")
    return Signature(_checked_name(name), blob[:4], blob[4:])


def _checked_name(name: str) -> str:
    try:
        length = len(name.encode())
    except UnicodeError as error:
        raise FormatError("key name: not valid UTF-8") from error
    if not 1 <= length <= MAX_NAME or "+" in name or any(character.isspace() for character in name):
        raise FormatError(f"key name: 1 to {MAX_NAME} bytes, without spaces and plus signs")
    return name
