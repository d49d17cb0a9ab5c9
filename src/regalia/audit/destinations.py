"""Where events go: a file, syslog, or an HTTP endpoint of the operator's. Blocking; used by one thread.

`deliver` returns when the destination has taken a batch and raises DeliveryFailed otherwise; the batch is
then sent again, whole. A file has taken it when it is on disk, an HTTP endpoint when it answers 2xx. Syslog
answers nothing: over TCP and Unix sockets it counts as taken when the kernel has it, over UDP when sent.
"""

import http.client
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from regalia.audit import syslog
from regalia.config import AuditExport
from regalia.errors import RegaliaError

TIMEOUT_S: Final = 10.0
MAX_DATAGRAM: Final = 60_000
MAX_ANSWER: Final = 64 * 1024
Event = dict[str, Any]


class DeliveryFailed(RegaliaError):
    """A destination did not take a batch; the message is for the operator."""


class Destination(Protocol):
    """Something that takes batches of events, in order."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Return when the batch was taken. Raises DeliveryFailed."""

    def close(self) -> None:
        """Let go of connections."""


def destination_of(settings: AuditExport) -> Destination:
    """The destination that is configured. Raises DeliveryFailed where it can't be one."""
    url = urlsplit(settings.to)
    if url.scheme == "file":
        return EventFile(Path(url.path))
    if url.scheme == "syslog+unix":
        return UnixSyslog(url.path)
    if url.scheme in ("syslog+udp", "syslog+tcp"):
        if not url.hostname:
            raise DeliveryFailed(f"audit_export.to: {settings.to!r} names no host")
        kind = UdpSyslog if url.scheme == "syslog+udp" else TcpSyslog
        return kind(url.hostname, url.port or (514 if kind is UdpSyslog else 601))
    return Endpoint(settings)


def encode(event: Event) -> bytes:
    """An event as one line of JSON."""
    return msgspec.json.encode(event)


class EventFile:
    """A file of JSON lines, which may be rotated at any time by moving it away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, events: Sequence[Event]) -> None:
        """Append the batch and wait until it is on disk."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab+") as file:
                lines = b"".join(encode(event) + b"\n" for event in events)
                file.write(b"\n" + lines if _ends_torn(file.fileno()) else lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DeliveryFailed(f"can't write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held between batches."""


class _Syslog:
    """What the three ways have in common."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        """Send the batch, a message an event."""
        try:
            if self._socket is None:
                self._socket = self._connect()
            self._send(self._socket, [_message(event) for event in events])
        except OSError as error:
            self.close()
            raise DeliveryFailed(f"syslog does not take events: {error}") from error

    def close(self) -> None:
        """Close the socket; the next batch makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        raise NotImplementedError

    def _send(self, connection: socket.socket, messages: list[bytes]) -> None:
        for text in messages:
            connection.send(text)


class UdpSyslog(_Syslog):
    """RFC 5426. What is lost on the way is lost."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = host, port

    def _connect(self) -> socket.socket:
        family, kind, number, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        connection = socket.socket(family, kind, number)
        connection.settimeout(TIMEOUT_S)
        connection.connect(address)
        return connection


class TcpSyslog(_Syslog):
    """RFC 6587 with octet counting."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = host, port

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=TIMEOUT_S)

    def _send(self, connection: socket.socket, messages: list[bytes]) -> None:
        _refuse_closed(connection)
        connection.sendall(b"".join(map(syslog.framed, messages)))


class UnixSyslog(_Syslog):
    """The local syslog's socket, of datagrams or a stream."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def _connect(self) -> socket.socket:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            connection = socket.socket(socket.AF_UNIX, kind)
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(self._path)
            except OSError:
                connection.close()
                if kind == socket.SOCK_STREAM:
                    raise
            else:
                return connection
        raise AssertionError("one of the two has raised")

    def _send(self, connection: socket.socket, messages: list[bytes]) -> None:
        if connection.type == socket.SOCK_DGRAM:
            super()._send(connection, messages)
        else:
            _refuse_closed(connection)
            connection.sendall(b"".join(map(syslog.framed, messages)))


class Endpoint:
    """An HTTP endpoint that takes JSON lines by POST and answers 2xx. Redirects are not followed."""

    def __init__(self, settings: AuditExport) -> None:
        self._url = urlsplit(settings.to)
        self._token = settings.bearer_token
        if not self._url.hostname:
            raise DeliveryFailed("audit_export.to: the URL names no host")
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DeliveryFailed(f"can't read {settings.ca_file}: {error}") from error

    def deliver(self, events: Sequence[Event]) -> None:
        """POST the batch."""
        connection = self._connection()
        headers = {"content-type": "application/x-ndjson"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        body = b"".join(encode(event) + b"\n" for event in events)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            reason = error or type(error).__name__
            raise DeliveryFailed(f"no answer from {self._url.hostname}: {reason}") from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise DeliveryFailed(f"{self._url.hostname} answered {response.status}")

    def close(self) -> None:
        """Nothing is held between batches."""

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self._url.hostname), self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


def _message(event: Event) -> bytes:
    """An event for syslog; without the raw record where that would be too long for many receivers."""
    body = encode(event)
    if len(body) > MAX_DATAGRAM // 8:
        body = encode({name: value for name, value in event.items() if name != "raw_data"})
    metadata = event["metadata"]
    return syslog.message(
        body,
        time_ms=event["time"],
        severity_id=event["severity_id"],
        origin=metadata["log_name"],
        kind=metadata["event_code"],
    )[:MAX_DATAGRAM]


def _refuse_closed(connection: socket.socket) -> None:
    """Raise OSError where the other end has closed already: a first send would not notice."""
    connection.setblocking(False)
    try:
        if connection.recv(4096) == b"":
            raise ConnectionResetError("the receiver has closed the connection")
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(TIMEOUT_S)


def _ends_torn(descriptor: int) -> bool:
    """Whether the file's last line is cut off, by a crash in the middle of a batch."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
