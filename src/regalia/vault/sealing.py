"""The vault's cryptography: pure functions of keys and bytes, no files.

    root key ──wraps──> project key ──wraps──> bucket key ──wraps──> data key ──seals──> content

Every arrow is AES-256-GCM (NIST SP 800-38D), and its associated data say what the inner thing is for,
so that nothing can be put in another's place. A data key is fresh and seals exactly one content, so
its nonce may be constant. The other keys wrap many and use random nonces: a bucket key some thousand
data keys, a project key one bucket key an hour, the root key a few project keys.
"""

import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from regalia.vault.errors import VaultError

SECRET_BYTES = 32
"""Every key here is for AES-256."""

NONCE_BYTES = 12
SEAL_RANDOM = SECRET_BYTES + NONCE_BYTES
"""How much randomness `BucketKey.seal` takes: a data key and the nonce it is wrapped with."""

MAX_ID = (1 << 63) - 1
"""The largest id of a key: what both databases hold in an integer."""

_VERSION = b"\x01"
_TAG_BYTES = 16
_PREFIX_BYTES = 9  # version, bucket id
KEY_BYTES = _PREFIX_BYTES + NONCE_BYTES + SECRET_BYTES + _TAG_BYTES
"""The length of `Sealed.key`."""

_ONCE = bytes(NONCE_BYTES)
_CONTENT = b"regalia/vault/content/v1\0"
_DATA_KEY = b"regalia/vault/data-key/v1\0"
_BUCKET_KEY = b"regalia/vault/bucket-key/v1\0"
_PROJECT_KEY = b"regalia/vault/project-key/v1\0"


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A sealed content, in two parts that live differently, and are best kept in two columns.

    `data` (ciphertext and tag) never changes. `key` is KEY_BYTES long, names its bucket, and is
    replaced when something else in its bucket is erased.
    """

    key: bytes
    data: bytes


class BucketKey:
    """A bucket's key, ready for use."""

    __slots__ = ("_aad", "_cipher", "_prefix", "id")

    def __init__(self, bucket: int, secret: bytes) -> None:
        self.id = bucket
        self._cipher = AESGCM(secret)
        self._prefix = _VERSION + bucket.to_bytes(8, "big")
        self._aad = _DATA_KEY + self._prefix

    def seal(self, ident: bytes, content: bytes, random: bytes) -> Sealed:
        """Seal the content of the record `ident` with SEAL_RANDOM fresh random bytes."""
        secret = random[:SECRET_BYTES]
        key = self._wrap(ident, secret, random[SECRET_BYTES:])
        return Sealed(key, AESGCM(secret).encrypt(_ONCE, content, _CONTENT + ident))

    def open(self, ident: bytes, sealed: Sealed) -> bytes:
        """The content that was sealed. Raises VaultError if anything about it was changed."""
        try:
            return AESGCM(self._unwrap(ident, sealed.key)).decrypt(_ONCE, sealed.data, _CONTENT + ident)
        except InvalidTag as error:
            raise VaultError(f"the sealed content of {_name(ident)} is damaged") from error

    def take_over(self, old: "BucketKey", ident: bytes, key: bytes, nonce: bytes) -> bytes:
        """The `Sealed.key` of a content that moves here from the bucket `old`."""
        return self._wrap(ident, old._unwrap(ident, key), nonce)

    def _wrap(self, ident: bytes, secret: bytes, nonce: bytes) -> bytes:
        return self._prefix + nonce + self._cipher.encrypt(nonce, secret, self._aad + ident)

    def _unwrap(self, ident: bytes, key: bytes) -> bytes:
        nonce, wrapped = key[_PREFIX_BYTES : _PREFIX_BYTES + NONCE_BYTES], key[_PREFIX_BYTES + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, wrapped, self._aad + ident)
        except (InvalidTag, ValueError) as error:
            raise VaultError(f"the sealed key of {_name(ident)} is damaged") from error


def bucket_of(key: bytes) -> int:
    """The id of the bucket that a `Sealed.key` belongs to. Raises VaultError if it can't be one."""
    bucket = int.from_bytes(key[1:_PREFIX_BYTES], "big")
    if len(key) != KEY_BYTES or key[:1] != _VERSION or bucket > MAX_ID:
        raise VaultError("a sealed key is damaged, or was made by a newer version")
    return bucket


def wrap(outer: bytes, secret: bytes, context: bytes, nonce: bytes) -> bytes:
    """Wrap a key under another one: nonce, ciphertext, tag."""
    return nonce + AESGCM(outer).encrypt(nonce, secret, context)


def unwrap(outer: bytes, wrapped: bytes, context: bytes) -> bytes:
    """The inverse of `wrap`. Raises VaultError."""
    try:
        return AESGCM(outer).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise VaultError("a wrapped key is damaged, or belongs to another one") from error


def project_context(key: int, project: str, purpose: str) -> bytes:
    """What a wrapped project key is for."""
    return _PROJECT_KEY + struct.pack(">q", key) + f"{project}\0{purpose}".encode()


def bucket_context(bucket: int, parent: int, begins: int, ends: int) -> bytes:
    """What a wrapped bucket key is for: a window in milliseconds, under a project key."""
    return _BUCKET_KEY + struct.pack(">qqqq", bucket, parent, begins, ends)


def _name(ident: bytes) -> str:
    return ident.decode(errors="backslashreplace")
