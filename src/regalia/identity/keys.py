"""API keys: shown once, kept as a keyed hash, and turned into the principal that asks."""

import base64
import hmac
from collections.abc import Mapping

import msgspec

from regalia.errors import ApiError

PREFIX = "rgl_"
RANDOM_BYTES = 30
_MAX_KEY = 256


class Principal(msgspec.Struct, frozen=True):
    """Who makes a call: the key's id, its project, its role."""

    key_id: str
    project: str
    role: str


def new_key(random: bytes) -> str:
    """A key's text from RANDOM_BYTES random bytes: `rgl_` and 48 characters."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key needs {RANDOM_BYTES} random bytes, got {len(random)}")
    return PREFIX + base64.b32encode(random).decode().lower()


def hash_key(secret: bytes, key: str | bytes) -> bytes:
    """What is stored of a key: HMAC-SHA-256 under the instance's secret, 32 bytes."""
    return hmac.digest(secret, key.encode() if isinstance(key, str) else key, "sha256")


class KeyRing:
    """The keys in use, by their hash; a look-up touches no database."""

    def __init__(self, secret: bytes, principals: Mapping[bytes, Principal]) -> None:
        self._secret = secret
        self._principals = dict(principals)

    def principal(self, authorization: bytes | None) -> Principal:
        """The principal behind an `Authorization` header's value. Raises ApiError 401."""
        if authorization is None:
            raise ApiError(
                401,
                "missing_api_key",
                "Send your API key as `Authorization: Bearer rgl_…`.",
            )
        if authorization[:7].lower() == b"bearer " and len(authorization) <= _MAX_KEY:
            found = self._principals.get(hash_key(self._secret, authorization[7:].strip()))
            if found is not None:
                return found
        raise ApiError(401, "invalid_api_key", "This API key is not known here, or no longer valid.")
