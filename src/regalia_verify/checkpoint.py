"""Checkpoints (https://c2sp.org/tlog-checkpoint): a log's name, size and root hash.

Extension lines are refused: ML-DSA-44 cosignatures do not cover them, and Regalia writes none.
"""

from dataclasses import dataclass
from typing import Self

from .errors import FormatError
from .merkle import EMPTY_ROOT, HASH_SIZE
from .strict import base64_bytes, base64_text, decimal, utf8_lines

MAX_ORIGIN = 255  # what a `cosigned_message` can hold
MAX_TEXT = 1024


@dataclass(frozen=True)
class Checkpoint:
    """The text that a checkpoint's signatures are about."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text, final newline included."""
        return f"{self.origin}\n{self.size}\n{base64_text(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read exactly three lines; raise FormatError for anything else."""
        lines = utf8_lines(text, "checkpoint", MAX_TEXT).split("\n")
        if len(lines) != 4 or lines[3] or not 1 <= len(lines[0].encode()) <= MAX_ORIGIN:
            raise FormatError(f"checkpoint: expected an origin of 1 to {MAX_ORIGIN} bytes, a size and a root")
        size = decimal(lines[1], "checkpoint size")
        root = base64_bytes(lines[2], "checkpoint root", HASH_SIZE)
        if size == 0 and root != EMPTY_ROOT:
            raise FormatError("checkpoint: the root of an empty log is SHA-256 of nothing")
        return cls(lines[0], size, root)
