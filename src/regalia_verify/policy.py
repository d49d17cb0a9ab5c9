"""Trust policies (https://c2sp.org/tlog-policy): whose signatures make a checkpoint credible.

`TrustPolicy.check` applies these rules, in this order:

1. The checkpoint's origin is the name of one of the policy's log keys. What follows is about the keys
   in force at its size; none that was retired before has signed.
2. Every signature that names a key of the policy verifies; one that fails condemns the whole note.
   Signatures by keys that the policy does not know are ignored.
3. A log key named like the origin has signed.
4. The witnesses that have cosigned reach the quorum.

Two kinds of comment lines speak of keys that change (`rotation`); others' verifiers pass over them:

    # regalia-root VKEY…        the log's root, without whose signatures its keys don't change
    # regalia-until SIZE VKEY…  former keys of the log, and the largest checkpoint that they may sign

Names and keys are compared as octets: the file is decoded so that every octet survives.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Self

from .errors import FormatError, NotVerified
from .note import LOG_TYPES, WITNESS_TYPES, Checkpoint, SignedNote, VerifierKey, verify
from .record import Record
from .rotation import verify_signed
from .strict import decimal

MAX_POLICY = 1024 * 1024
MAX_NAMED = 128  # of each: logs, witnesses, groups
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
NONE = "none"
Keys = tuple[VerifierKey, ...]


@dataclass(frozen=True)
class Endorsement:
    """A checkpoint that satisfies a policy, and who signed it."""

    checkpoint: Checkpoint
    signers: tuple[str, ...]  # everyone whose signature was verified, as the policy names them
    witnesses: dict[str, int]  # name in the policy -> time of the cosignature, seconds since the epoch
    witnessed: bool  # whether a witness other than the log itself has cosigned


@dataclass
class TrustPolicy:
    """The logs, witnesses, groups and the quorum that a verifier has decided to trust."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)  # of the witnesses that have one
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # name -> threshold, members
    quorum: str = ""
    roots: dict[str, Keys] = field(default_factory=dict)  # by the log's origin
    until: list[tuple[int, Keys]] = field(default_factory=list)  # former keys, oldest first

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
        retired = [key for last, keys in self.until if last < checkpoint.size for key in keys]
        if {(key.name, key.key_id) for key in retired} & {(s.name, s.key_id) for s in note.signatures}:
            raise NotVerified("retired_key", "the checkpoint is signed by a key that was retired before it")
        former = [keys for last, keys in self.until if checkpoint.size <= last]
        policy = self._with(next((keys for keys in former if keys[0].name == checkpoint.origin), ()))
        signed = policy._signed_by(note)
        own = [key for key in policy.logs if key in signed and key.name == checkpoint.origin]
        if not own:
            raise NotVerified("log_signature_missing", f"the checkpoint is not signed by {checkpoint.origin}")
        cosigned = {name: signed[key] for name, key in policy.witnesses.items() if key in signed}
        if not policy._reached(policy.quorum, cosigned):
            by = ", ".join(cosigned) or "nobody"
            raise NotVerified("quorum_missing", f"{policy.quorum} is not reached; cosigned by: {by}")
        witnessed = any(policy.witnesses[name].name != checkpoint.origin for name in cosigned)
        signers = (*(f"{key.name} ({LOG_TYPES[key.type]})" for key in own), *cosigned)
        return Endorsement(checkpoint, signers, cosigned, witnessed)

    def rotated(self, origin: str, record: Record, index: int) -> Self:
        """The policy after a log's rotation of its keys, at that index; raise NotVerified if it is none."""
        if record["kind"] != "log.key_rotated" or record["origin"] != origin:
            raise NotVerified("wrong_origin", f"the {record['kind']} does not rotate the keys of {origin}")
        old, new = self._keys(origin), tuple(map(VerifierKey.parse, record["keys"]))
        known = new in [old, *(keys for _, keys in self.until)]  # the policy is from after this rotation
        if origin in self.roots:
            verify_signed(record, "root", self.roots[origin])
        elif not known:
            raise NotVerified("no_root", "the log's keys were rotated, and the policy does not name its root")
        if known:
            return self
        verify_signed(record, "log", old)
        return replace(self._with(new), until=[*self.until, (index, old)])

    def _keys(self, origin: str) -> Keys:
        """The log's own keys, in the order in which it signs with them."""
        own = {key for key in (*self.logs, *self.witnesses.values()) if key.name == origin}
        return tuple(sorted(own, key=lambda key: key.type))

    def _with(self, keys: Keys) -> Self:
        """The policy with other keys of a log in the places of its present ones."""
        by_type = {(key.name, key.type): key for key in keys}
        logs = [by_type.get((key.name, key.type), key) for key in self.logs]
        witnesses = {name: by_type.get((key.name, key.type), key) for name, key in self.witnesses.items()}
        return replace(self, logs=logs, witnesses=witnesses)

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
                self._read_comment(words)
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

    def _read_comment(self, words: list[str]) -> None:
        match words:
            case ["#", "regalia-root", _, *_]:
                root = tuple(map(VerifierKey.parse, words[2:]))
                self.roots[root[0].name.removesuffix("/root")] = root
            case ["#", "regalia-until", size, _, *_]:
                self.until.append((decimal(size, "size"), tuple(map(VerifierKey.parse, words[3:]))))

    def _new_key(self, vkey: str, types: Collection[int], listed: Collection[VerifierKey]) -> VerifierKey:
        key = VerifierKey.parse(vkey)
        if key.type not in types:
            raise FormatError(f"the key of {key.name} is of a type that does not sign this")
        if any(key.public == other.public for other in listed):
            raise FormatError(f"the key of {key.name} is listed twice")
        return key
