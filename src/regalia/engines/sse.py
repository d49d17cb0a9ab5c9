"""Server-sent events, split from the bytes of a stream (WHATWG HTML, section 9.2)."""

from regalia.engines.errors import EngineBroken

_MAX_EVENT = 4 * 1024 * 1024
_FRAME = len(b"data: \n\n")


class EventSplitter:
    """Cuts a byte stream into whole events; what is incomplete waits for the next bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[tuple[bytes, bytes]]:
        """Each event that is complete by now, as (its `event` name, its data).

        Comments and events without data are left out. Raises EngineBroken over 4 MiB.
        """
        if not self._rest and _is_one(chunk):
            return [(b"", chunk[6:-2])]
        buffer = self._rest + chunk if self._rest else chunk
        if b"\r" in buffer:
            buffer, held = _line_feeds(buffer)
        else:
            held = b""
        *events, rest = buffer.split(b"\n\n")
        self._rest = rest + held
        if len(self._rest) > _MAX_EVENT:
            raise EngineBroken(f"the engine sent an event larger than {_MAX_EVENT} bytes")
        return [(name, data) for name, data in map(_fields, events) if data]


def _is_one(chunk: bytes) -> bool:
    """Whether it is one whole event with one line of data: nearly every chunk of every engine."""
    return (
        chunk.startswith(b"data: ")
        and chunk.endswith(b"\n\n")
        and chunk.count(b"\n") == 2
        and len(chunk) > _FRAME
        and b"\r" not in chunk
    )


def _line_feeds(buffer: bytes) -> tuple[bytes, bytes]:
    """`buffer` with LF for CRLF, and a CR at its end held back: its LF may come next."""
    held = b"\r" if buffer.endswith(b"\r") else b""
    return buffer.removesuffix(b"\r").replace(b"\r\n", b"\n"), held


def _fields(event: bytes) -> tuple[bytes, bytes]:
    if event.startswith(b"data: ") and b"\n" not in event:  # nearly every event of every engine
        return b"", event[6:]
    name = b""
    data: list[bytes] = []
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data)
