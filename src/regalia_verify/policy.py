"""Trust policies (https://c2sp.org/tlog-policy): whose signatures make a checkpoint credible.

The rules, in the order in which `TrustPolicy.check` applies them:

1. The checkpoint's origin is the name of one of the policy's log keys.
2. Every signature that names a key of the policy verifies; one that fails condemns the whole note.
   Signatures by keys that the policy does not know are ignored.
3. A log key named like the origin has signed.
4. The witnesses that have cosigned reach the quorum.

Names and keys are compared as octets: the file is decoded so that every octet survives.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Self

from .checkpoint import Checkpoint
from .errors import FormatError, NotVerified
from .note import ED25519, ED25519_COSIGNATURE, MLDSA44_COSIGNATURE, SignedNote, VerifierKey, verify
from .strict import decimal

MAX_POLICY = 1024 * 1024
MAX_NAMED = 128  # of each: logs, witnesses, groups
LOG_TYPES = frozenset({ED25519, MLDSA44_COSIGNATURE})
WITNESS_TYPES = frozenset({ED25519_COSIGNATURE, MLDSA44_COSIGNATURE})
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
NONE = "none"


@dataclass(frozen=True)
class Group:
    """Witnesses and groups of which `threshold` must have cosigned."""

    threshold: int
    members: tuple[str, ...]


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
        types = {ED25519: "Ed25519", MLDSA44_COSIGNATURE: "ML-DSA-44"}
        return (*(f"{key.name} ({types[key.type]})" for key in self.log_keys), *self.witnesses)


@dataclass(frozen=True)
class TrustPolicy:
    """The logs, witnesses, groups and the quorum that a verifier has decided to trust."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, VerifierKey]
    groups: dict[str, Group]
    quorum: str
    urls: dict[str, str]  # of the witnesses that have one, by their name in the policy

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a policy file; raise FormatError with the line at fault."""
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        text = raw.decode("utf-8", "surrogateescape")
        if len(raw) > MAX_POLICY:
            raise FormatError(f"policy: longer than {MAX_POLICY} bytes")
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), 1):
            if FORBIDDEN.search(line):
                raise FormatError(f"policy line {number}: contains a control character")
            words = [word for word in line.replace("\t", " ").split(" ") if word]
            if words and not words[0].startswith("#"):
                try:
                    reader.read(words[0], words[1:])
                except FormatError as error:
                    raise FormatError(f"policy line {number}: {error}") from error
        if reader.quorum is None:
            raise FormatError("policy: has no `quorum` line")
        if not reader.logs:
            raise FormatError("policy: has no `log` line")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum, reader.urls)

    def check(self, note: SignedNote) -> Endorsement:
        """Check a checkpoint note against the rules above; raise NotVerified with the one that fails."""
        checkpoint = Checkpoint.parse(note.text)
        if all(key.name != checkpoint.origin for key in self.logs):
            raise NotVerified("unknown_log", f"the policy does not list the log {checkpoint.origin}")
        verified = self._verified_signatures(note)
        log_keys = tuple(key for key in self.logs if key in verified and key.name == checkpoint.origin)
        if not log_keys:
            raise NotVerified("log_signature_missing", f"the checkpoint is not signed by {checkpoint.origin}")
        cosigned = {name: verified[key] for name, key in self.witnesses.items() if key in verified}
        if not self._reached(self.quorum, cosigned.keys()):
            by = ", ".join(cosigned) or "nobody"
            raise NotVerified("quorum_missing", f"the quorum {self.quorum} is not reached; cosigned by: {by}")
        witnessed = any(self.witnesses[name].name != checkpoint.origin for name in cosigned)
        return Endorsement(checkpoint, log_keys, cosigned, witnessed)

    def _verified_signatures(self, note: SignedNote) -> dict[VerifierKey, int]:
        """The keys that have signed, with the time of the latest of their cosignatures."""
        known = {(key.name, key.key_id): key for key in (*self.logs, *self.witnesses.values())}
        verified: dict[VerifierKey, int] = {}
        for signature in note.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                verify(note.text, signature, key)
                verified[key] = max(verified.get(key, 0), signature.timestamp)
        return verified

    def _reached(self, name: str, cosigned: Set[str]) -> bool:
        if name == NONE or name in cosigned:
            return True
        group = self.groups.get(name)
        if group is None:
            return False
        return sum(self._reached(member, cosigned) for member in group.members) >= group.threshold


class _Reader:
    """Collects the lines of a policy file; a name must be defined above its use."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.members: set[str] = set()
        self.urls: dict[str, str] = {}

    def read(self, keyword: str, words: list[str]) -> None:
        """Take one line."""
        match keyword, words:
            case "log", [vkey, *url] if len(url) <= 1:
                self._add_log(VerifierKey.parse(vkey))
            case "witness", [name, vkey, *url] if len(url) <= 1:
                self._add_witness(name, VerifierKey.parse(vkey))
                self.urls.update((name, text) for text in url)
            case "group", [name, threshold, *members] if members:
                self._add_group(name, threshold, members)
            case "quorum", [name]:
                self._set_quorum(name)
            case _:
                raise FormatError("expected log, witness, group or quorum with the right number of words")

    def _add_log(self, key: VerifierKey) -> None:
        if key.type not in LOG_TYPES:
            raise FormatError(f"the key of {key.name} is of a type that logs do not sign with")
        if any(key.public == other.public for other in self.logs):
            raise FormatError(f"the key of {key.name} is listed twice")
        _check_room(self.logs)
        self._check_collision(key)
        self.logs.append(key)

    def _add_witness(self, name: str, key: VerifierKey) -> None:
        if key.type not in WITNESS_TYPES:
            raise FormatError(f"the key of {name} is of a type that witnesses do not sign with")
        if any(key.public == other.public for other in self.witnesses.values()):
            raise FormatError(f"the key of {name} is listed twice")
        self._check_new(name)
        _check_room(self.witnesses)
        self._check_collision(key)
        self.witnesses[name] = key

    def _add_group(self, name: str, threshold: str, members: list[str]) -> None:
        self._check_new(name)
        _check_room(self.groups)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise FormatError(f"{member} is not defined above this line")
            if member in self.members:
                raise FormatError(f"{member} is already a member of a group")
            self.members.add(member)
        count = {"any": 1, "all": len(members)}.get(threshold) or decimal(threshold, "threshold")
        if not 1 <= count <= len(members):
            raise FormatError(f"the threshold must be 1 to {len(members)}")
        self.groups[name] = Group(count, tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise FormatError("a second quorum")
        if name != NONE and name not in self.witnesses and name not in self.groups:
            raise FormatError(f"{name} is not defined above this line")
        self.quorum = name

    def _check_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise FormatError(f"the name {name} is already taken")

    def _check_collision(self, key: VerifierKey) -> None:
        for other in (*self.logs, *self.witnesses.values()):
            if (key.name, key.key_id) == (other.name, other.key_id) and key != other:
                raise FormatError(f"two different keys are called {key.name}+{key.key_id.hex()}")


def _check_room(named: list[VerifierKey] | dict[str, VerifierKey] | dict[str, Group]) -> None:
    if len(named) >= MAX_NAMED:
        raise FormatError(f"more than {MAX_NAMED} of a kind")
