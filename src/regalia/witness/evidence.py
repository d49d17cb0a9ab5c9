"""What a witness keeps when a log contradicts itself: two notes in a folder, for anyone to check.

    evidence/<kind>-<digest>/
        cosigned.note    the checkpoint that the witness has cosigned
        submitted.note   the one it refused, signed by the log
        request          the whole request, proof included
        case.json        kind, origin, both sizes, when

`equivocation`: the log has signed two roots for one size, which nothing excuses. `unproven`: the log has
signed a larger tree, and the proof that came with it does not show that it extends the cosigned one. The
messenger may be at fault; a log that can't give a valid proof for the two notes has forked.

Anyone can bring a public checkpoint with a wrong proof, so cases are bounded, each kind on its own.
"""

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from regalia.notes import checkpoint_text, encode_note
from regalia.witness.book import Entry
from regalia.witness.errors import Suspicion
from regalia.witness.request import AddCheckpoint

MAX_CASES = 1000  # of each kind
_DIGITS = 32


class Case(msgspec.Struct, frozen=True):
    """`case.json`: `time` is in milliseconds since the epoch, sizes in entries."""

    kind: Suspicion
    origin: str
    cosigned_size: int
    submitted_size: int
    time: int


class Evidence:
    """The folder of cases."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(self, kind: Suspicion, cosigned: Entry, submitted: AddCheckpoint, time: int) -> Path | None:
        """Keep a case durably; None if it is already kept or the folder is full."""
        texts = f"{checkpoint_text(cosigned.checkpoint)}\n{submitted.note.text}"
        name = f"{kind}-{hashlib.sha256(texts.encode()).hexdigest()[:_DIGITS]}"
        place = self.root / name
        if place.exists() or len(list(self.root.glob(f"{kind}-*"))) >= MAX_CASES:
            return None
        case = Case(
            kind, cosigned.checkpoint.origin, cosigned.checkpoint.size, submitted.checkpoint.size, time
        )
        files = {
            "cosigned.note": cosigned.note.encode(),
            "submitted.note": encode_note(submitted.note).encode(),
            "request": submitted.encode(),
            "case.json": msgspec.json.format(msgspec.json.encode(case), indent=2) + b"\n",
        }
        self._write(place, files)
        return place

    def cases(self) -> list[tuple[Path, Case]]:
        """Every kept case, the oldest first."""
        found = [
            (file.parent, msgspec.json.decode(file.read_bytes(), type=Case))
            for file in self.root.glob("[eu]*/case.json")
        ]
        return sorted(found, key=lambda pair: (pair[1].time, pair[0]))

    def _write(self, place: Path, files: dict[str, bytes]) -> None:
        """All files or none: they are written beside their place, which then gets its name."""
        draft = self.root / f".{place.name}"
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed here
        draft.mkdir(parents=True, mode=0o700)
        for name, content in files.items():
            with (draft / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(draft)
        draft.rename(place)
        _sync(self.root)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
