"""Trust policies (https://c2sp.org/tlog-policy): whose signatures make a checkpoint credible.

`TrustPolicy.check` applies these rules, in this order:

1. The checkpoint's origin is the name of one of the policy's log keys.
2. Every signature that names a key of the policy verifies; one that fails condemns the whole note.
   Signatures by keys that the policy does not know are ignored.
3. A log key named like the origin has signed.
4. The witnesses that have cosigned reach the quorum.

Names and keys are compared as octets: the file is decoded so that every octet survives.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Self

from .checkpoint import Checkpoint
from .errors import FormatError, NotVerified
from .note import ED25519, ED25519_COSIGNATURE, MLDSA44_COSIGNATURE, SignedNote, VerifierKey, verify
from .strict import decimal

MAX_POLICY = 1024 * 1024
MAX_NAMED = 128  # of each: logs, witnesses, groups
LOG_TYPES = {ED25519: "Ed25519", MLDSA44_COSIGNATURE: "ML-DSA-44"}
WITNESS_TYPES = {ED25519_COSIGNATURE, MLDSA44_COSIGNATURE}
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
NONE = "none"


@dataclass(frozen=True)
class Endorsement:
    """A checkpoint that satisfies a policy, and who signed it."""

    checkpoint: Checkpoint
    log_keys: tuple[VerifierKey, ...]
    witnesses: dict[str, int]  # name in the policy -> time of the cosignature, seconds since the epoch
    witnessed: bool  # whether a witness other than the log itself has cosigned

    @property
    def signers(self) -> tuple[str, ...]:
        """Everyone whose signature was verified, as the policy names them."""
        return (*(f"{key.name} ({LOG_TYPES[key.type]})" for key in self.log_keys), *self.witnesses)


@dataclass
class TrustPolicy:
    """The logs, witnesses, groups and the quorum that a verifier has decided to trust."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)  # of the witnesses that have one
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # name -> threshold, members
    quorum: str = ""

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a policy file; raise FormatError with the line at fault."""
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        if len(raw) > MAX_POLICY:
            raise FormatError(f"policy: longer than {MAX_POLICY} bytes")
        policy = cls()
        for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
            try:
                policy._read_line(line)
            except FormatError as error:
                raise FormatError(f"policy line {number}: {error}") from error
        if not policy.quorum or not policy.logs:
            raise FormatError("policy: needs a `log` line and a `quorum` line")
        return policy

    def check(self, note: SignedNote) -> Endorsement:
        """Check a checkpoint note against the rules above; raise NotVerified with the one that fails."""
        checkpoint = Checkpoint.parse(note.text)
        if all(key.name != checkpoint.origin for key in self.logs):
            raise NotVerified("unknown_log", f"the policy does not list the log {checkpoint.origin}")
        signed = self._signed_by(note)
        log_keys = tuple(key for key in self.logs if key in signed and key.name == checkpoint.origin)
        if not log_keys:
            raise NotVerified("log_signature_missing", f"the checkpoint is not signed by {checkpoint.origin}")
        cosigned = {name: signed[key] for name, key in self.witnesses.items() if key in signed}
        if not self._reached(self.quorum, cosigned):
            by = ", ".join(cosigned) or "nobody"
            raise NotVerified("quorum_missing", f"the quorum {self.quorum} is not reached; cosigned by: {by}")
        witnessed = any(self.witnesses[name].name != checkpoint.origin for name in cosigned)
        return Endorsement(checkpoint, log_keys, cosigned, witnessed)

    def _signed_by(self, note: SignedNote) -> dict[VerifierKey, int]:
        """The keys that have signed, with the time of the latest of their cosignatures."""
        known = {(key.name, key.key_id): key for key in (*self.logs, *self.witnesses.values())}
        signed: dict[VerifierKey, int] = {}
        for signature in note.signatures:
            if key := known.get((signature.name, signature.key_id)):
                verify(note.text, signature, key)
                signed[key] = max(signed.get(key, 0), signature.timestamp)
        return signed

    def _reached(self, name: str, cosigned: Collection[str]) -> bool:
        threshold, members = self.groups.get(name, (1, []))
        reached = sum(self._reached(member, cosigned) for member in members) >= threshold
        return reached or name in cosigned or name == NONE

    def _read_line(self, line: str) -> None:
        """Take one line of the file; what it refers to must be defined above it."""
        if FORBIDDEN.search(line):
            raise FormatError("contains a control character")
        defined = {NONE, *self.witnesses, *self.groups}
        match [word for word in line.replace("\t", " ").split(" ") if word]:
            case words if not words or words[0].startswith("#"):
                pass
            case ["witness" | "group", name, *_] if name in defined:
                raise FormatError(f"the name {name} is already taken")
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(self._new_key(vkey, LOG_TYPES, self.logs))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self.witnesses[name] = self._new_key(vkey, WITNESS_TYPES, self.witnesses.values())
                self.urls.update((name, text) for text in url)
            case ["group", name, threshold, *members] if members:
                grouped = [member for _, group in self.groups.values() for member in group] + members
                if len(set(grouped)) < len(grouped) or not set(members) <= defined - {NONE}:
                    raise FormatError("a member is in a group already, or not defined above this line")
                count = {"any": 1, "all": len(members)}.get(threshold) or decimal(threshold, "threshold")
                if not 1 <= count <= len(members):
                    raise FormatError(f"the threshold must be 1 to {len(members)}")
                self.groups[name] = (count, members)
            case ["quorum", name] if not self.quorum and name in defined:
                self.quorum = name
            case ["quorum", *_]:
                raise FormatError("expected one quorum, whose name is defined above this line")
            case _:
                raise FormatError("expected log, witness, group or quorum with the right number of words")
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_NAMED:
            raise FormatError(f"more than {MAX_NAMED} of a kind")

    def _new_key(self, vkey: str, types: Collection[int], listed: Collection[VerifierKey]) -> VerifierKey:
        key = VerifierKey.parse(vkey)
        if key.type not in types:
            raise FormatError(f"the key of {key.name} is of a type that does not sign this")
        if any(key.public == other.public for other in listed):
            raise FormatError(f"the key of {key.name} is listed twice")
        return key
