"""The body of `add-checkpoint` (https://c2sp.org/tlog-witness), and how a log builds it.

    old <size>
    <consistency proof, a hash in base64 a line>

    <checkpoint>

One spelling only: what does not parse is refused, and what parses encodes to the same bytes.
"""

from typing import Self

import msgspec

from regalia.notes import encode_note
from regalia.witness.consistency import consistency_proof
from regalia.witness.errors import Refused
from regalia_verify.errors import FormatError
from regalia_verify.merkle import HASH_SIZE, NodeHash
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.strict import base64_bytes, base64_text, decimal

MAX_REQUEST = 128 * 1024  # 63 proof lines and well over the 16 post-quantum signatures a note may carry
MAX_PROOF = 63
_OLD = "old "


class AddCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint, and the proof that it extends the tree of `old` entries."""

    old: int
    proof: tuple[bytes, ...]
    note: SignedNote
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request body. Raises Refused: 400, and 422 for an empty tree with a wrong root."""
        try:
            return cls(*_parse(body))
        except FormatError as error:
            raise Refused(400, "malformed", str(error)) from error

    @classmethod
    def carried(cls, text: bytes) -> Self:
        """Read what is carried to a witness without a network: a request body, or a checkpoint alone.

        A checkpoint alone stands for a log that the witness has never cosigned. Raises Refused.
        """
        return cls.parse(text if text.startswith(_OLD.encode()) else b"old 0\n\n" + text)

    def encode(self) -> bytes:
        """The request body."""
        lines = "".join(f"{base64_text(value)}\n" for value in self.proof)
        return f"{_OLD}{self.old}\n{lines}\n{encode_note(self.note)}".encode()


def build_request(note: SignedNote, old: int, node: NodeHash) -> AddCheckpoint:
    """The request for a witness that has last cosigned `old` entries.

    `node(level, index)` reads the log's tree, as `regalia_verify.source.TiledLog.node` does. Raises
    ValueError if `old` exceeds the checkpoint's size: then the witness has seen more of the log than this.
    """
    checkpoint = Checkpoint.parse(note.text)
    return AddCheckpoint(old, consistency_proof(old, checkpoint.size, node), note, checkpoint)


def _parse(body: bytes) -> tuple[int, tuple[bytes, ...], SignedNote, Checkpoint]:
    head, gap, note_text = _text(body).partition("\n\n")
    if not gap:
        raise FormatError("expected an old size line, proof lines, an empty line and a checkpoint")
    first, *lines = head.split("\n")
    if not first.startswith(_OLD):
        raise FormatError("the first line is not `old <size>`")
    if len(lines) > MAX_PROOF:
        raise FormatError(f"more than {MAX_PROOF} proof lines")
    old = decimal(first.removeprefix(_OLD), "old size")
    proof = tuple(base64_bytes(line, "proof line", HASH_SIZE) for line in lines)
    note = SignedNote.parse(note_text)
    return old, proof, note, _checkpoint(note.text)


def _text(body: bytes) -> str:
    if len(body) > MAX_REQUEST:
        raise FormatError(f"longer than {MAX_REQUEST} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise FormatError("not valid UTF-8") from error


def _checkpoint(text: str) -> Checkpoint:
    try:
        return Checkpoint.parse(text)
    except FormatError as error:
        lines = text.split("\n")
        if len(lines) == 4 and lines[1] == "0" and _is_hash(lines[2]):
            raise Refused(422, "empty_root", str(error)) from error
        raise


def _is_hash(text: str) -> bool:
    try:
        base64_bytes(text, "root", HASH_SIZE)
    except FormatError:
        return False
    return True
