"""What a log remembers of its witnesses: per witness the latest checkpoint that it has cosigned.

    D/witnesses/<hash of the name>.note

The notes say from which size to prove next, online or carried, and let a checkpoint mature: carried
cosignatures come late, for a checkpoint that others have cosigned when it was new. Losing them costs a
question, not a proof.
"""

import hashlib
import os
from pathlib import Path

from regalia.notes import encode_note
from regalia.witness.roster import reached
from regalia_verify.errors import FormatError
from regalia_verify.note import MAX_NOTE, Checkpoint, SignedNote
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Missing, read_file


class Remembered:
    """The folder. Writing replaces whole files, so any number of processes may look on."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def latest(self, witness: str) -> SignedNote | None:
        """The latest note that a witness has cosigned. Raises FormatError if the file is damaged."""
        try:
            return SignedNote.parse(read_file(self._path(witness), MAX_NOTE))
        except Missing:
            return None

    def size(self, witness: str) -> int:
        """The size that a witness has last cosigned, as far as is known; 0 for none."""
        try:
            note = self.latest(witness)
            return Checkpoint.parse(note.text).size if note else 0
        except FormatError:  # the witness knows better and will say so
            return 0

    def keep(self, witness: str, note: SignedNote) -> None:
        """Remember a note, unless a larger one is remembered."""
        if Checkpoint.parse(note.text).size < self.size(witness):
            return
        self.root.mkdir(exist_ok=True, mode=0o700)
        path = self._path(witness)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(encode_note(note))
        draft.replace(path)

    def witnessed(self, policy: TrustPolicy, witnesses: list[str]) -> SignedNote | None:
        """The largest remembered note that satisfies the policy."""
        notes = [
            note for witness in witnesses if (note := self.latest(witness)) and not reached(policy, note)
        ]
        return max(notes, key=lambda note: Checkpoint.parse(note.text).size, default=None)

    def _path(self, witness: str) -> Path:
        return self.root / f"{hashlib.sha256(witness.encode()).hexdigest()[:32]}.note"
