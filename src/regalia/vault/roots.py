"""Where the root key comes from: a file, the environment's secret, or a PKCS#11 token.

A root key only ever wraps project keys, so a token sees a few of them a day and no content.
`root_key` turns one line of configuration into a root key:

    file:/etc/regalia/root.key                     64 hex digits, readable by its owner only
    env:REGALIA_ROOT_KEY                           64 hex digits, or a long random text
    pkcs11:token=regalia;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/regalia/pin
"""

import os
import stat
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from regalia.vault.errors import RootKeyError, VaultError
from regalia.vault.sealing import NONCE_BYTES, SECRET_BYTES, unwrap, wrap

Random = Callable[[int], bytes]
MIN_TEXT = 32
"""The shortest text, in characters, that is taken as a secret instead of 64 hex digits."""

_MAX_FILE = 1024


class RootKey(Protocol):
    """Wraps project keys. `id` tells one root key from another and reveals nothing about it."""

    @property
    def id(self) -> str:
        """At most 64 printable characters, the same whenever the same key is opened."""

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """The secret (32 bytes), wrapped for this context: at most 400 bytes. Raises RootKeyError."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The inverse. Raises RootKeyError."""


class SecretRoot:
    """A root key in this process's memory."""

    def __init__(self, secret: bytes, random: Random = os.urandom) -> None:
        if len(secret) != SECRET_BYTES:
            raise RootKeyError(f"a root key is {SECRET_BYTES} bytes long, not {len(secret)}")
        self._secret = secret
        self._random = random
        self.id = "secret:" + digest(secret, b"regalia/vault/root-id/v1", "sha256").hex()[:32]

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Wrap a project key."""
        return wrap(self._secret, secret, context, self._random(NONCE_BYTES))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap a project key."""
        try:
            return unwrap(self._secret, wrapped, context)
        except VaultError as error:
            raise RootKeyError(f"a project key can't be unwrapped with the root key {self.id}") from error


def root_key(source: str, environment: Mapping[str, str] | None = None) -> RootKey:
    """The root key that one line of configuration names. Raises RootKeyError."""
    kind, _, rest = source.partition(":")
    if kind == "file":
        return root_from_file(Path(rest))
    if kind == "env":
        return root_from_environment(rest, os.environ if environment is None else environment)
    if kind == "pkcs11":
        from regalia.vault.token import TokenRoot  # python-pkcs11 is an optional extra

        return TokenRoot.from_uri(source)
    raise RootKeyError(f"a root key is file:PATH, env:NAME or a pkcs11: URI, not {source[:40]!r}")


def create_root_file(path: Path, random: Random = os.urandom) -> SecretRoot:
    """Make a root key and keep it in a new file that only its owner can read. Raises RootKeyError."""
    secret = random(SECRET_BYTES)
    begun = path.with_name(f"{path.name}.new")  # a key is there whole or not at all
    try:
        begun.unlink(missing_ok=True)
        descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(begun)  # unlike a rename, it does not replace another key
        begun.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise RootKeyError(f"can't make the root key {path}: {error.strerror}") from error
    return SecretRoot(secret)


def root_from_file(path: Path) -> SecretRoot:
    """The root key in a file of 64 hex digits that nobody but its owner may read. Raises RootKeyError."""
    secret = _from_hex(read_private(path))
    if secret is None:
        raise RootKeyError(f"the root key {path} must hold 64 hex digits, made by `openssl rand -hex 32`")
    return SecretRoot(secret)


def read_private(path: Path) -> str:
    """The text of a small file that holds a secret. Raises RootKeyError if others may read it."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(_MAX_FILE)
    except OSError as error:
        raise RootKeyError(f"can't read the secret in {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise RootKeyError(f"{path}, which should hold a secret, is not a regular file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise RootKeyError(f"others may use the secret in {path} (mode {mode:04o}): chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise RootKeyError(f"{path}, which holds a secret, belongs to another user (uid {status.st_uid})")
    return text.decode("utf-8", errors="replace").strip()


def root_from_environment(name: str, environment: Mapping[str, str]) -> SecretRoot:
    """The root key in an environment variable: 64 hex digits, or a text that HKDF-SHA-256 turns into a key.

    HKDF does not slow a guesser down: the text must be random (32 characters or more), not a phrase.
    """
    text = environment.get(name, "").strip()
    if not text:
        raise RootKeyError(f"the environment variable {name}, which should hold the root key, is not set")
    secret = _from_hex(text)
    if secret is not None:
        return SecretRoot(secret)
    if len(text) < MIN_TEXT:
        raise RootKeyError(
            f"the root key in {name} is too short: 64 hex digits (`openssl rand -hex 32`), "
            f"or a random text of {MIN_TEXT} characters or more"
        )
    return SecretRoot(HKDF(SHA256(), SECRET_BYTES, None, b"regalia/vault/root/v1").derive(text.encode()))


def fingerprint(*parts: bytes) -> str:
    """A short name for what is too long or too telling to be one."""
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()[:32]


def _from_hex(text: str) -> bytes | None:
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        return None
    return secret if len(secret) == SECRET_BYTES else None
