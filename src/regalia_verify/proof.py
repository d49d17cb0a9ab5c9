"""Offline-verifiable proofs that an entry is in a log (https://c2sp.org/tlog-proof).

Parsing proves nothing: `receipt` checks the signatures and the inclusion.
"""

from dataclasses import dataclass
from typing import Self

from .errors import FormatError
from .merkle import HASH_SIZE
from .strict import base64_bytes, base64_text, decimal, utf8_lines

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF = 16 * 1024 * 1024
MAX_HASHES = 63


@dataclass(frozen=True)
class TlogProof:
    """An index, an inclusion proof and the checkpoint it leads to; `extra` is authenticated by nothing."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def encode(self) -> str:
        """The proof as text."""
        extra = [] if self.extra is None else [f"extra {base64_text(self.extra)}"]
        hashes = [base64_text(value) for value in self.hashes]
        return "\n".join([HEADER, *extra, f"index {self.index}", *hashes, "", self.checkpoint])

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a proof; the checkpoint is taken verbatim and read by `note`."""
        head, gap, checkpoint = utf8_lines(data, "tlog-proof", MAX_PROOF).partition("\n\n")
        lines = head.split("\n")
        if lines.pop(0) != HEADER or not gap:
            raise FormatError(f"tlog-proof: expected {HEADER}, a proof, an empty line and a checkpoint")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = base64_bytes(lines.pop(0).removeprefix("extra "), "tlog-proof extra")
        if not lines or not lines[0].startswith("index ") or len(lines) > 1 + MAX_HASHES:
            raise FormatError(f"tlog-proof: expected an `index` line and at most {MAX_HASHES} hashes")
        index = decimal(lines.pop(0).removeprefix("index "), "tlog-proof index")
        hashes = tuple(base64_bytes(line, "tlog-proof hash", HASH_SIZE) for line in lines)
        return cls(index, hashes, checkpoint, extra)
