"""Signed notes as text: what only those who sign and pass on need beside `regalia_verify.note`."""

from regalia_verify.note import DASH, Checkpoint, Signature, SignedNote
from regalia_verify.strict import base64_text


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """The text that a checkpoint's signatures are about, final newline included."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64_text(checkpoint.root)}\n"


def signature_line(signature: Signature) -> str:
    """A signature line, newline included."""
    return f"{DASH}{signature.name} {base64_text(signature.key_id + signature.blob)}\n"


def encode_note(note: SignedNote) -> str:
    """The note as text."""
    return f"{note.text}\n{''.join(map(signature_line, note.signatures))}"
