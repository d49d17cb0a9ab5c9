"""Parsing that accepts exactly one spelling of each value.

Two spellings of one value are two byte strings that verify alike: room for an attacker, and for two
implementations to disagree. So base64 must be canonical (RFC 4648 section 4), decimals carry no
leading zeros, and text carries no control characters but newline.
"""

import base64
import re

from .errors import FormatError

DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
MAX_DECIMAL = 2**63 - 1


def base64_bytes(text: str, what: str, length: int | None = None) -> bytes:
    """Decode canonical base64; `length` is the number of bytes demanded, if it is known."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"{what}: not base64") from error
    if base64_text(data) != text:
        raise FormatError(f"{what}: base64 is not in canonical form")
    if length is not None and len(data) != length:
        raise FormatError(f"{what}: expected {length} bytes, got {len(data)}")
    return data


def base64_text(data: bytes) -> str:
    """Encode as base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decimal(text: str, what: str) -> int:
    """Parse a non-negative decimal below 2^63, written without sign or leading zeros."""
    if not DECIMAL.fullmatch(text) or int(text) > MAX_DECIMAL:
        raise FormatError(f"{what}: expected a decimal number, got {text[:40]!r}")
    return int(text)


def utf8_lines(data: bytes | str, what: str, limit: int) -> str:
    """Decode UTF-8 of at most `limit` bytes whose only control character is newline."""
    try:
        raw = data.encode() if isinstance(data, str) else data
        text = raw.decode()
    except UnicodeError as error:
        raise FormatError(f"{what}: not valid UTF-8") from error
    if len(raw) > limit:
        raise FormatError(f"{what}: longer than {limit} bytes")
    if CONTROL.search(text):
        raise FormatError(f"{what}: contains a control character")
    return text
