"""Whom a log asks for cosignatures: the witnesses of a trust policy, and what is made of their answers.

A witness with two keys stands on two `witness` lines of the policy, which share the key's name. One with
a URL is asked; one without is reached by carried files.
"""

from collections.abc import Iterable

import msgspec

from regalia.witness.consistency import consistency_proof, verify_consistency
from regalia.witness.decision import TrustedLog, log_signatures
from regalia.witness.errors import Refused
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.merkle import NodeHash, range_hash
from regalia_verify.note import Checkpoint, Signature, SignedNote, VerifierKey, verify
from regalia_verify.policy import TrustPolicy


class Peer(msgspec.Struct, frozen=True):
    """A witness as a log knows it: the name and keys it cosigns with, and its submission prefix."""

    name: str
    keys: tuple[VerifierKey, ...]
    url: str = ""


class Sighting(msgspec.Struct, frozen=True):
    """A checkpoint that a witness holds, signed by the log itself."""

    witness: str
    checkpoint: Checkpoint
    note: SignedNote


def peers_of(policy: TrustPolicy) -> list[Peer]:
    """The policy's witnesses, by the names of their keys; the log's own keys are not witnesses."""
    origins = {key.name for key in policy.logs}
    peers: dict[str, Peer] = {}
    for name, key in policy.witnesses.items():
        if key.name in origins:
            continue
        known = peers.get(key.name, Peer(key.name, ()))
        url = known.url or policy.urls.get(name, "").rstrip("/")
        peers[key.name] = Peer(key.name, (*known.keys, key), url)
    return list(peers.values())


def parse_answer(note: SignedNote, lines: bytes) -> SignedNote:
    """The note with the signature lines of a witness' answer, none verified yet. Raises FormatError."""
    answered = SignedNote.parse(note.text.encode() + b"\n" + lines)
    if answered.text != note.text:
        raise FormatError("the answer is not signature lines")
    return answered


def cosignatures_of(peer: Peer, answered: SignedNote) -> tuple[Signature, ...]:
    """The peer's cosignatures on a note, the last by each key; those by unknown keys are ignored.

    Raises NotVerified if one by a key of the peer is not valid or has no time, or if there is none.
    """
    known = {(key.name, key.key_id): key for key in peer.keys}
    valid: dict[bytes, Signature] = {}
    for signature in answered.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        verify(answered.text, signature, key)
        if signature.timestamp == 0:
            raise NotVerified("cosignature_without_time", f"{peer.name} states no time")
        valid[signature.key_id] = signature
    if not valid:
        raise NotVerified("cosignature_missing", f"no key of {peer.name} has signed")
    return tuple(valid.values())


def attach(note: SignedNote, signatures: Iterable[Signature]) -> SignedNote:
    """The note with these signatures; each replaces an older one by the same key."""
    merged = {(s.name, s.key_id): s for s in (*note.signatures, *signatures)}
    return SignedNote(note.text, tuple(merged.values()))


def reached(policy: TrustPolicy, note: SignedNote) -> str:
    """Empty if the note satisfies the policy, otherwise why it does not."""
    try:
        policy.check(note)
    except NotVerified as error:
        return str(error)
    return ""


def sighting(note: SignedNote, witness: str, log: TrustedLog) -> Sighting:
    """What a witness holds of a log, if the log itself has signed it. Raises Refused, FormatError."""
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.origin:
        raise Refused(404, "unknown_log", f"{witness} answers with the log {checkpoint.origin}")
    log_signatures(note, log)
    return Sighting(witness, checkpoint, note)


def contradiction(own: Checkpoint, node: NodeHash, seen: Sighting) -> str:
    """How a checkpoint that the log once signed contradicts what it has now; empty if it does not.

    `own` is the log's present tree and `node` reads its tiles, which count only as far as they lead to the
    root of `own`: tiles of one tree must not vouch for the checkpoint of another. Whoever starts or restores
    a log asks this before it signs anything: a log that went backwards halts, and never forks.
    """
    then = seen.checkpoint
    if then.size > own.size:
        return f"{seen.witness} holds a checkpoint of {then.size} entries, and the log here has {own.size}"
    root = own.root if then.size == own.size else range_hash(0, then.size, node)
    if root != then.root:
        return f"{seen.witness} holds another root for the first {then.size} entries than the log here has"
    try:
        proof = consistency_proof(then.size, own.size, node)
        verify_consistency(then.size, own.size, then.root, own.root, proof)
    except NotVerified:
        return (
            f"the tiles here agree with {seen.witness}'s checkpoint of {then.size} entries, and do not lead "
            f"to the root of the log's own checkpoint of {own.size}: `regalia log fsck` says which are wrong"
        )
    return ""
