"""Syslog messages (RFC 5424), and how streams frame them (RFC 6587, octet counting). No I/O."""

from datetime import UTC, datetime
from typing import Final

FACILITY_AUDIT: Final = 13
_SEVERITIES: Final = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1}
"""OCSF's severity as syslog's: informational, notice, warning, error, critical, alert."""
MAX_HOST: Final = 255


def message(body: bytes, *, time_ms: int, severity_id: int, origin: str, kind: str) -> bytes:
    """One event as a message: `body` is its JSON, `origin` the log's name."""
    priority = FACILITY_AUDIT * 8 + _SEVERITIES.get(severity_id, 6)
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    stamp = moment.replace("+00:00", "Z")
    head = f"<{priority}>1 {stamp} {_plain(origin, MAX_HOST)} regalia - {_plain(kind, 32)} - "
    return head.encode() + b"\xef\xbb\xbf" + body


def framed(text: bytes) -> bytes:
    """A message on a stream."""
    return b"%d %s" % (len(text), text)


def _plain(text: str, longest: int) -> str:
    """Printable US-ASCII without spaces, `-` for nothing."""
    return "".join(mark if "!" <= mark <= "~" else "_" for mark in text)[:longest] or "-"
