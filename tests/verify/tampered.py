"""What the tables of tampering start from: honest logs, others, and a published log to be changed."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from regalia.ledger.writing import encode_bundle
from regalia_verify import note
from regalia_verify.log import verify_log
from regalia_verify.merkle import leaf_hash
from regalia_verify.policy import TrustPolicy
from regalia_verify.record import canonical
from regalia_verify.source import parse_bundle
from verify.paper_log import (
    Files,
    PaperLog,
    Signer,
    sample_log,
)

FORMAT = "FormatError"  # cannot be read at all: exit status 2
HONEST = sample_log(7)
ELSEWHERE = sample_log(7, "other.example/log", "other")  # another log
IMPOSTOR = sample_log(7, keys="impostor")  # the same name, other keys
ALIEN = Signer("witness.example/w1", note.MLDSA44_COSIGNATURE, "w1")


def flip(data: bytes, position: int = 0) -> bytes:
    """One bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


LONG = sample_log(151)  # 304 entries: a full bundle and a partial one
LONG_FILES = LONG.publish()
FULL, PARTIAL = "tile/entries/000", "tile/entries/001.p/48"


@dataclass
class Log:
    """A published log, to be changed; or entries, to be published by a dishonest operator."""

    files: Files = field(default_factory=lambda: Files(LONG_FILES))
    log: PaperLog = field(default_factory=lambda: deepcopy(HONEST))
    policy: TrustPolicy = field(default_factory=LONG.policy)
    previous: bytes | None = None
    closed: bool = False
    signers: tuple[Signer, ...] = ()

    def edit(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Change a file."""
        assert change(self.files[path]) != self.files[path]
        self.files[path] = change(self.files[path])

    def edit_bundle(self, path: str, change: Callable[[list[bytes]], object]) -> None:
        """Change the entries of a bundle."""
        entries = parse_bundle(self.files[path])
        change(entries)
        self.edit(path, lambda _: encode_bundle(entries))

    def edit_tile_too(self, change: Callable[[list[bytes]], object]) -> None:
        """Change the entries of the partial bundle, and its tile to match."""
        self.edit_bundle(PARTIAL, change)
        leaves = [leaf_hash(entry) for entry in parse_bundle(self.files[PARTIAL])]
        self.edit("tile/0/001.p/48", lambda _: b"".join(leaves))

    def rewrite(self, index: int, **fields: Any) -> None:
        """Change a record."""
        self.log.entries[index] = canonical(json.loads(self.log.entries[index]) | fields)


LogTamper = Callable[[Log], object]


def add(*records: dict[str, Any]) -> LogTamper:
    return lambda attempt: [attempt.log.add(record) for record in records]


def run(attempt: Log) -> None:
    """Verify the log as an auditor would."""
    verify_log(attempt.files, attempt.policy, previous=attempt.previous, closed=attempt.closed)
