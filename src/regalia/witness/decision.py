"""Whether a witness cosigns: the rules of https://c2sp.org/tlog-witness, in order, without any I/O.

1. The checkpoint's origin is a log that the witness trusts, else 404.
2. A trusted key of that log has signed, and no signature by a known key of the log fails, else 403.
   Signatures by unknown keys are ignored.
3. The old size is not above the checkpoint's, else 400.
4. The old size is that of the latest checkpoint cosigned for the log (0 for none), else 409 with it.
5. The proof shows that the checkpoint extends the latest cosigned one, else 422. So a proof is empty
   when nothing was cosigned before, and at equal sizes the roots are equal.

A checkpoint that passes rule 2 binds the log. If another root has been cosigned for its size, that is
an *equivocation*, whatever the later rules say. If rule 5 fails for a larger tree, it is *unproven*:
either the log forked, or the messenger brought a wrong proof; with both notes an auditor can ask the log.
"""

import msgspec

from regalia.witness.consistency import verify_consistency
from regalia.witness.errors import Refused, Suspicion
from regalia.witness.request import AddCheckpoint
from regalia_verify.errors import NotVerified
from regalia_verify.merkle import EMPTY_ROOT
from regalia_verify.note import SignedNote, VerifierKey, verify


class TrustedLog(msgspec.Struct, frozen=True):
    """A log that the witness was told to trust.

    One of `keys` must sign its checkpoints. Signatures by its `others` are not demanded, but checked.
    """

    origin: str
    keys: tuple[VerifierKey, ...]
    others: tuple[VerifierKey, ...] = ()


class Known(msgspec.Struct, frozen=True):
    """What a witness knows of a log when a request comes."""

    log: TrustedLog
    size: int = 0
    root: bytes = EMPTY_ROOT  # of the latest cosigned checkpoint
    root_at: bytes | None = None  # the root cosigned for the size in question, if that is remembered


def log_signatures(note: SignedNote, log: TrustedLog) -> SignedNote:
    """The note with only the log's own signatures, all valid. Raises Refused (rule 2)."""
    known = {(key.name, key.key_id): key for key in (*log.others, *log.keys)}
    valid = []
    signers = set()
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or signature in valid:
            continue
        try:
            verify(note.text, signature, key)
        except NotVerified as error:
            raise Refused(403, "bad_signature", str(error)) from error
        valid.append(signature)
        signers.add(key)
    if not signers.intersection(log.keys):
        raise Refused(403, "log_signature_missing", f"no key trusted for {log.origin} has signed")
    return SignedNote(note.text, tuple(valid))


def check_growth(request: AddCheckpoint, known: Known) -> None:
    """Rules 3 to 5, for a checkpoint that the log has signed. Raises Refused."""
    checkpoint = request.checkpoint
    equivocates = known.root_at is not None and known.root_at != checkpoint.root
    suspicion: Suspicion = "equivocation" if equivocates else ""
    if request.old > checkpoint.size:
        raise Refused(
            400,
            "old_above_size",
            f"the old size {request.old} is above the checkpoint's {checkpoint.size}",
            suspicion=suspicion,
        )
    if request.old != known.size:
        raise Refused(
            409,
            "not_latest",
            f"the latest cosigned size is {known.size}, not {request.old}",
            size=known.size,
            suspicion=suspicion,
        )
    try:
        verify_consistency(known.size, checkpoint.size, known.root, checkpoint.root, request.proof)
    except NotVerified as error:
        if not suspicion and 0 < known.size < checkpoint.size:
            suspicion = "unproven"
        raise Refused(422, "not_consistent", str(error), suspicion=suspicion) from error
