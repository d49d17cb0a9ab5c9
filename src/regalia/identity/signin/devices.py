"""A cookie by which a browser shows that an account has signed in there before.

It lets nobody in. It only gives the browser's failures a count of their own (see `lockout`).
"""

import hmac
from typing import Final

DEVICE_BYTES: Final = 12
LIFETIME_S: Final = 180 * 86_400


def new_device(secret: bytes, account: str, random: bytes) -> str:
    """The cookie for a browser in which the account has signed in; `random` is DEVICE_BYTES bytes."""
    if len(random) != DEVICE_BYTES:
        raise ValueError(f"a device needs {DEVICE_BYTES} random bytes, got {len(random)}")
    return random.hex() + "." + _mark(secret, account, random.hex())


def device_of(secret: bytes, account: str, cookie: str) -> str:
    """The browser's name with this account, "" if the cookie is not of this account."""
    device, _, mark = cookie.partition(".")
    if len(device) != 2 * DEVICE_BYTES or not cookie.isascii():
        return ""
    return device if hmac.compare_digest(_mark(secret, account, device), mark) else ""


def _mark(secret: bytes, account: str, device: str) -> str:
    return hmac.digest(secret, f"regalia/device/v1\0{account}\0{device}".encode(), "sha256").hex()
