"""One-time codes (RFC 6238: SHA-1, 6 digits, 30 s) and recovery codes. No I/O."""

import base64
import hmac
from typing import Final
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S: Final = 30
SECRET_BYTES: Final = 20
WINDOW: Final = 1
"""How many steps a clock may be off, either way."""
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
_NONCE: Final = 12
_PURPOSE: Final = b"regalia/totp/v1"


def step_of(secret: bytes, code: str, now_s: int, last_used: int) -> int | None:
    """The time step that a code is for; None if it is wrong, or not later than the last one used."""
    if len(code) != 6 or not (code.isascii() and code.isdigit()):
        return None
    generator = TOTP(secret, 6, SHA1(), STEP_S)  # noqa: S303 - what authenticators speak; HMAC, no collisions
    now = now_s // STEP_S
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):  # all of them, so that time tells nothing
        expected = generator.generate(step * STEP_S)
        if hmac.compare_digest(expected, code.encode()) and step > last_used:
            found = step
    return found


def enrolment_uri(secret: bytes, name: str, issuer: str) -> str:
    """What an authenticator app takes in, also as a QR code."""
    query = {"secret": base64.b32encode(secret).decode().rstrip("="), "issuer": issuer}
    return f"otpauth://totp/{quote(issuer)}:{quote(name)}?{urlencode(query, quote_via=quote)}"


def seal_secret(secret: bytes, instance_secret: bytes, account: str, random: bytes) -> bytes:
    """The secret as the database keeps it: only this instance opens it, and only for this account."""
    if len(random) != _NONCE:
        raise ValueError(f"sealing needs {_NONCE} random bytes, got {len(random)}")
    return random + AESGCM(_key(instance_secret)).encrypt(random, secret, account.encode())


def open_secret(sealed: bytes, instance_secret: bytes, account: str) -> bytes | None:
    """The secret, None if it is not this account's."""
    try:
        return AESGCM(_key(instance_secret)).decrypt(sealed[:_NONCE], sealed[_NONCE:], account.encode())
    except (InvalidTag, ValueError):
        return None


def recovery_code(random: bytes) -> str:
    """A recovery code from RECOVERY_BYTES random bytes: four groups of four."""
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def hash_recovery(instance_secret: bytes, account: str, code: str) -> bytes:
    """What is kept of a recovery code; spaces, hyphens and case do not matter."""
    plain = "".join(mark for mark in code.lower() if mark.isalnum())
    return hmac.digest(instance_secret, b"regalia/recovery/v1\0" + f"{account}\0{plain}".encode(), "sha256")


def _key(instance_secret: bytes) -> bytes:
    return hmac.digest(instance_secret, _PURPOSE, "sha256")
