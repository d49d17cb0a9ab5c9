"""The log of a child process: bounded, and without what clients sent."""

import re
from pathlib import Path

_LOG_BYTES = 1024 * 1024
_HEAD = re.compile(rb"[\d.]+ [A-Z] +\S+(?: +\S+?:)?")  # llama.cpp: time, level, part, function
_PLACE = re.compile(rb'\S+\.(?:c|cc|cpp|cu|h|hpp|m):\d+: GGML_[A-Z_]+|  File "[^"]+", line \d+, in \w+')


def without_content(line: bytes) -> bytes | None:
    """What may be kept of a line that a serving child printed, or None.

    llama.cpp prints parts of requests: a grammar it can't parse, a body that is no JSON. So of its own
    log lines only the head is kept, of failed assertions and tracebacks the place, and nothing else.
    """
    found = _PLACE.match(line) or _HEAD.match(line)
    return found[0] + b"\n" if found else None


class BoundedLog:
    """A log file that is turned over at a size; one older file is kept beside it."""

    def __init__(self, path: Path, limit: int = _LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, data: bytes) -> None:
        """Append; no file ever holds more than the limit and one write."""
        if self._file.tell() + len(data) > self._limit:
            self._file.close()
            self._path.replace(self._path.with_suffix(".log.1"))
            self._file = self._path.open("ab")
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
