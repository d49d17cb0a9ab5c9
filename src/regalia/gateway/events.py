"""Server-sent events, as they go on the wire."""


def as_event(name: bytes, data: bytes) -> bytes:
    """One event; most have no name."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
