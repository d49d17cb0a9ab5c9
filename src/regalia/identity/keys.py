"""API keys: shown once, kept as a keyed hash, and turned into the principal that asks.

A look-up touches no database. What the ring holds is replaced while it is in use (`regalia.identity.live`);
when that has not been confirmed for too long the ring answers nobody, because a key that it still holds
may have been revoked.
"""

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from regalia.clock import now_ms
from regalia.errors import ApiError
from regalia.identity.principal import Principal
from regalia.identity.roles import allowed, not_permitted

PREFIX = "rgl_"
RANDOM_BYTES = 30
STALE_S = 10.0
"""So long after the keys were last confirmed, none of them is accepted any more."""
_BLOCK = 64  # bytes, SHA-256's
_MAX_KEY = 256
_MAX_BEARER = 16_384

Network = IPv4Network | IPv6Network
Resolver = Callable[[bytes], Principal | None]


class RingKey(msgspec.Struct, frozen=True):
    """A key in use: whose it is, until when (ms), and from where it may come (None: anywhere)."""

    principal: Principal
    expires: int | None = None
    networks: tuple[Network, ...] | None = None


def new_key(random: bytes) -> str:
    """A key's text from RANDOM_BYTES random bytes: `rgl_` and 48 characters."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key needs {RANDOM_BYTES} random bytes, got {len(random)}")
    return PREFIX + base64.b32encode(random).decode().lower()


def hash_key(secret: bytes, key: str | bytes) -> bytes:
    """What is stored of a key: HMAC-SHA-256 under the instance's secret, 32 bytes."""
    return hmac.digest(secret, key.encode() if isinstance(key, str) else key, "sha256")


class KeyHash:
    """`hash_key` under one secret, at a third of its cost: both keyed states are made once (RFC 2104)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, key: bytes) -> bytes:
        """What is stored of the key."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key)
        outer.update(inner.digest())
        return outer.digest()


def parse_network(text: str) -> Network:
    """A source network in CIDR form, or one address. Raises ValueError."""
    return ip_network(text.strip())


class KeyRing:
    """The keys in use, by their hash."""

    def __init__(
        self,
        secret: bytes,
        keys: Mapping[bytes, RingKey],
        *,
        clock: Callable[[], int] = now_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hash = KeyHash(secret).of
        self._keys = dict(keys)
        self._clock = clock
        self._monotonic = monotonic
        self._fresh_until = float("inf")
        self._resolvers: list[Resolver] = []

    def replace(self, keys: Mapping[bytes, RingKey]) -> None:
        """From now on these keys and no others are in use."""
        self._keys = dict(keys)

    def change(self, keys: Mapping[bytes, RingKey | None]) -> None:
        """Put keys in, or, where they are None, take them out."""
        changed = dict(self._keys)
        for digest, key in keys.items():
            if key is None:
                changed.pop(digest, None)
            else:
                changed[digest] = key
        self._keys = changed

    def moment(self) -> float:
        """Now, for `confirm`."""
        return self._monotonic()

    def confirm(self, moment: float) -> None:
        """The keys are what the database held at that moment or later; good for STALE_S from then."""
        self._fresh_until = moment + STALE_S

    def also(self, resolver: Resolver) -> None:
        """Ask `resolver` about bearer tokens that are no keys of ours (such as an identity provider's)."""
        self._resolvers.append(resolver)

    def principal(self, authorization: bytes | None, peer: str = "", route: str = "") -> Principal:
        """The principal behind an `Authorization` header's value.

        `peer` is the address it comes from, `route` the inference route it asks for, if it asks for one.
        Raises ApiError: 401 for what is not known here or no longer valid, 403 for what the key is not
        for, 503 when it can't be known whether keys are still valid.
        """
        if authorization is None:
            raise ApiError(
                401,
                "missing_api_key",
                "Send your API key as `Authorization: Bearer rgl_…`.",
            )
        if self._monotonic() > self._fresh_until:
            raise ApiError(
                503,
                "identity_unavailable",
                "It can't be known just now which keys are valid: the database does not answer.",
                retry_after=1,
            )
        if authorization[:7].lower() != b"bearer ":
            raise _invalid()
        token = authorization[7:].strip()
        if len(token) <= _MAX_KEY:
            key = self._keys.get(self._hash(token))
            if key is not None:
                return self._checked(key, peer, route)
        if self._resolvers and len(token) <= _MAX_BEARER and not token.startswith(b"rgl_"):
            for resolver in self._resolvers:
                found = resolver(token)
                if found is not None:
                    return _scoped(found, route)
        raise _invalid()

    def _checked(self, key: RingKey, peer: str, route: str) -> Principal:
        if key.expires is not None and self._clock() >= key.expires:
            raise ApiError(401, "expired_api_key", "This API key has expired: ask for a new one.")
        if key.networks is not None and not _within(peer, key.networks):
            raise ApiError(403, "network_not_allowed", "This API key may not be used from this address.")
        return _scoped(key.principal, route)


def _scoped(principal: Principal, route: str) -> Principal:
    if route:
        if principal.routes is not None and route not in principal.routes:
            raise ApiError(403, "route_not_allowed", f"This API key is not for `{route}`.")
        if principal.project == "":
            raise ApiError(403, "no_project", "This API key belongs to no project, so it can't make calls.")
        if not allowed(principal.roles, "call.make"):
            raise not_permitted("call.make")
    return principal


def _within(peer: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:  # no address, such as a Unix socket's peer
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def _invalid() -> ApiError:
    return ApiError(401, "invalid_api_key", "This API key is not known here, or no longer valid.")
