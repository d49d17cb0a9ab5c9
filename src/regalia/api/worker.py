"""One worker of several: `python -m regalia.api.worker NUMBER FD`, its configuration on standard input."""

import asyncio
import os
import socket
import sys

import uvloop

from regalia.api.server import configure_logs, serve
from regalia.api.workers import decode_config
from regalia.errors import RegaliaError

MAX_CONFIG = 1024 * 1024


def main(number: int, descriptor: int) -> None:
    """Serve on the inherited socket until a signal comes or the supervisor is gone."""
    config = decode_config(_line())
    configure_logs(config)
    listening = socket.socket(fileno=descriptor)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, owner=number == 0, listening=listening, supervised=True))


def _line() -> bytes:
    """Up to the newline and not a byte more, so that the end of the stream can still be waited for."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte or len(line) > MAX_CONFIG:
            raise SystemExit("no configuration came from the supervisor")
        line += byte
    return bytes(line)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except RegaliaError as error:
        sys.exit(f"regalia: worker {sys.argv[1]}: {error}")
