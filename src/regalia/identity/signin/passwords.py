"""Passwords: what they must be, and Argon2id (RFC 9106), which is what is kept of them."""

import unicodedata
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from regalia.errors import RegaliaError

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256
SALT_BYTES: Final = 16
MEMORY_KIB: Final = 64 * 1024
ITERATIONS: Final = 3
LANES: Final = 4
"""RFC 9106's second recommended option."""

NOBODY: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$cmVnYWxpYS1ub2JvZHktMQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""A hash that no password has, so that a name without an account takes as long as one with it."""


class PasswordTooWeak(RegaliaError):
    """The password can't be used; the message says what is needed."""


def check_password(password: str, name: str) -> None:
    """Raise PasswordTooWeak. Length is what counts (NIST SP 800-63B), so no rule asks for digits or signs."""
    plain = _normal(password)
    if not MIN_LENGTH <= len(plain) <= MAX_LENGTH:
        raise PasswordTooWeak(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if len(set(plain)) < 5 or plain.casefold() in {name.casefold(), name.casefold()[::-1]}:
        raise PasswordTooWeak("this password is too easy to guess")


def hash_password(password: str, salt: bytes) -> str:
    """What is kept of a password, as a PHC string; `salt` is SALT_BYTES random bytes. Takes 0.1 s, 64 MB."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    kdf = Argon2id(salt=salt, length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive_phc_encoded(_normal(password).encode())


def verify_password(password: str, kept: str) -> bool:
    """Whether this is the password. Takes as long as `hash_password`."""
    if len(password) > MAX_LENGTH * 4:
        return False
    try:
        Argon2id.verify_phc_encoded(_normal(password).encode(), kept)
    except InvalidKey:
        return False
    return True


def _normal(password: str) -> str:
    """One spelling for what different keyboards type."""
    return unicodedata.normalize("NFKC", password)
