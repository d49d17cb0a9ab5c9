"""Time and identifiers. Both come in through parameters elsewhere, so that tests can hold them still."""

import time

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _CROCKFORD for b in _CROCKFORD)
_SHIFTS = tuple(range(120, -1, -10))


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def call_ms(call: str) -> int:
    """When a call was admitted, by its id: milliseconds since the epoch."""
    value = 0
    for digit in call.removeprefix("call_")[:10]:
        value = value << 5 | _CROCKFORD.index(digit)
    return value


def new_call_id(ms: int, random: bytes) -> str:
    """A call's id: `call_` and 26 characters that sort by time (a ULID in lower case).

    `ms` is milliseconds since the epoch (48 bits), `random` ten bytes.
    """
    if len(random) != 10:
        raise ValueError(f"a call id needs 10 random bytes, got {len(random)}")
    bits = (ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random, "big")
    return "call_" + "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
