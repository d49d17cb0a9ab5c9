"""A log on paper: written in memory with the verifier's own formats, signed with keys from fixed seeds.

Tests write whatever an operator might, honest or not, and hand it to the verifier.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from regalia.ledger.writing import encode_bundle, encode_extra, encode_proof, inclusion_proof
from regalia.notes import checkpoint_text, signature_line
from regalia.witness.consistency import consistency_proof
from regalia_verify import note
from regalia_verify.errors import FormatError
from regalia_verify.merkle import leaf_hash, root_hash
from regalia_verify.note import Checkpoint
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import Opening, Rotation, TlogProof
from regalia_verify.record import canonical, commit
from regalia_verify.rotation import statement
from regalia_verify.source import TILE_WIDTH, Missing, entries_path, tile_path
from regalia_verify.strict import base64_text

ORIGIN = "llm.example.org/log"
TIME_MS = 1_790_000_000_000
TIME_S = TIME_MS // 1000


def seed(text: str) -> bytes:
    """32 bytes that look random and are always the same."""
    return hashlib.sha256(text.encode()).digest()


class Signer:
    """One private key under a name, signing checkpoints in one of the three known ways."""

    def __init__(self, name: str, key_type: int, secret: str):
        self.type = key_type
        self.sign: Callable[[bytes], bytes]
        if key_type == note.MLDSA44_COSIGNATURE:
            mldsa = MLDSA44PrivateKey.from_seed_bytes(seed(secret))
            self.sign, public = mldsa.sign, mldsa.public_key().public_bytes_raw()
        else:
            ed25519 = Ed25519PrivateKey.from_private_bytes(seed(secret))
            self.sign, public = ed25519.sign, ed25519.public_key().public_bytes_raw()
        self.key = note.VerifierKey.create(name, key_type, public)

    def line(self, checkpoint: Checkpoint, timestamp: int = TIME_S) -> str:
        """The signature line for a checkpoint."""
        stamp = timestamp.to_bytes(8, "big")
        if self.type == note.ED25519:
            signature = self.sign(checkpoint_text(checkpoint).encode())
        elif self.type == note.ED25519_COSIGNATURE:
            signature = stamp + self.sign(note.cosignature_v1_message(checkpoint_text(checkpoint), timestamp))
        else:
            signature = stamp + self.sign(note.cosigned_message(self.key.name, checkpoint, timestamp))
        return signature_line(note.Signature(self.key.name, self.key.key_id, signature))


Pair = tuple[Signer, Signer]


def _pair(name: str, secret: str) -> Pair:
    return (
        Signer(name, note.ED25519, f"{secret} ed25519"),
        Signer(name, note.MLDSA44_COSIGNATURE, f"{secret} mldsa44"),
    )


def _vkeys(pair: Pair) -> list[str]:
    return [signer.key.encode() for signer in pair]


class Files(dict[str, bytes]):
    """A log's files, as a source that the verifier can read."""

    def read(self, path: str, limit: int) -> bytes:
        """The content of one file."""
        if path not in self:
            raise Missing(path)
        if len(self[path]) > limit:
            raise FormatError(f"{path}: longer than {limit} bytes")
        return self[path]

    def write(self, folder: Path) -> Path:
        """Put the files into a folder."""
        for path, data in self.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder


@dataclass
class PaperCall:
    """What the caller of one call holds, and where its outcome is in the log."""

    id: str
    request: bytes
    response: bytes
    tokens: bytes
    salts: dict[str, bytes]
    admission: int = -1
    outcome: int = -1

    def commitment(self, part: str) -> str:
        """The commitment to one part."""
        return commit(part, self.salts[part], getattr(self, part))

    def openings(self) -> dict[str, Opening]:
        """What the receipt reveals."""
        return {
            "request": Opening(self.salts["request"]),
            "response": Opening(self.salts["response"]),
            "tokens": Opening(self.salts["tokens"], self.tokens),
        }


@dataclass
class PaperLog:
    """Entries in the order in which they were written; publishing makes the files and the signatures."""

    origin: str = ORIGIN
    keys: str = "log"
    entries: list[bytes] = field(default_factory=list)
    calls: list[PaperCall] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = _pair(f"{self.origin}/root", f"{self.keys} root")
        self.former: list[tuple[int, Pair]] = []  # with the index of the record that replaced them
        self.ed25519, self.mldsa = _pair(self.origin, self.keys)

    def add(self, record: Mapping[str, Any]) -> int:
        """Append a record as it is, well-formed or not; returns its index."""
        self.entries.append(canonical(dict(record)))
        return len(self.entries) - 1

    @property
    def pair(self) -> Pair:
        """The keys in force."""
        return self.ed25519, self.mldsa

    def open(self, **more: Any) -> None:
        """Write `log.opened`."""
        keys = _vkeys(self.pair)
        self.add(event("log.opened", origin=self.origin, software="regalia/0.1.0", keys=keys, **more))

    def rotation(self, to: Pair, *, by: Pair | None = None, root: Pair | None = None) -> dict[str, Any]:
        """The record that gives the log other keys, signed by its own and its root's, or by others."""
        record = event("log.key_rotated", origin=self.origin, keys=_vkeys(to))
        signers = {"log": by or self.pair, "root": root or self.root}
        signatures = {
            name: [base64_text(signer.sign(statement(record))) for signer in pair]
            for name, pair in signers.items()
        }
        return record | {"signatures": signatures}

    def rotate(self, record: dict[str, Any] | None = None) -> int:
        """Go on with new keys, by an honest record or another one; returns its index."""
        to = _pair(self.origin, f"{self.keys} {len(self.former) + 2}")
        index = self.add(record or self.rotation(to))
        self.former.append((index, self.pair))
        self.ed25519, self.mldsa = to
        return index

    def pair_at(self, size: int) -> Pair:
        """The keys that sign a checkpoint of this size."""
        return next((pair for index, pair in self.former if size <= index), self.pair)

    def rotations(self, size: int | None = None) -> list[Rotation]:
        """What a receipt holds of the changes of keys."""
        end = len(self.entries) if size is None else size
        return [(i, self.entries[i], self.proof(i, size)) for i, _ in self.former if i < end]

    def begin(self, number: int) -> PaperCall:
        """Admit a call."""
        parts = ("request", "response", "tokens")
        call = PaperCall(
            id=call_id(number),
            request=b'{"model":"smollm2","messages":[{"role":"user","content":"%d"}]}' % number,
            response=b'{"choices":[{"message":{"content":"%d"}}]}' % (number * 7),
            tokens=canonical([[number, number + 1, 2]]),
            salts={part: seed(f"{self.keys} {number} {part}") for part in parts},
        )
        call.admission = self.add(admitted(call))
        self.calls.append(call)
        return call

    def end(self, call: PaperCall, **changes: Any) -> None:
        """Record the outcome of a call."""
        call.outcome = self.add(self.outcome(call, **changes))

    def outcome(self, call: PaperCall, **changes: Any) -> dict[str, Any]:
        """The record of a call's outcome."""
        return answered(call, leaf_hash(self.entries[call.admission]).hex()) | changes

    def tree(self, size: int | None = None) -> list[bytes]:
        """The leaf hashes."""
        return [leaf_hash(entry) for entry in self.entries[:size]]

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree."""
        return root_hash(leaf_hash(entry) for entry in self.entries[index << level : (index + 1) << level])

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The unsigned checkpoint."""
        leaves = self.tree(size)
        return Checkpoint(self.origin, len(leaves), root_hash(leaves))

    def signed(self, size: int | None = None, *signers: Signer) -> str:
        """The checkpoint, signed by the log's two keys unless others are named."""
        checkpoint = self.checkpoint(size)
        lines = [signer.line(checkpoint) for signer in signers or self.pair_at(checkpoint.size)]
        return f"{checkpoint_text(checkpoint)}\n{''.join(lines)}"

    def publish(self, *signers: Signer) -> Files:
        """Every file of the log."""
        files = Files(checkpoint=self.signed(None, *signers).encode())
        for start in range(0, len(self.entries), TILE_WIDTH):
            entries = self.entries[start : start + TILE_WIDTH]
            files[entries_path(start // TILE_WIDTH, len(entries))] = encode_bundle(entries)
        level, hashes = 0, self.tree()
        while hashes:
            for start in range(0, len(hashes), TILE_WIDTH):
                tile = hashes[start : start + TILE_WIDTH]
                files[tile_path(level, start // TILE_WIDTH, len(tile))] = b"".join(tile)
            full = len(hashes) // TILE_WIDTH
            hashes = [root_hash(hashes[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]) for n in range(full)]
            level += 1
        return files

    def proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The inclusion proof of an entry."""
        return inclusion_proof(index, len(self.tree(size)), self.node)

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """The proof that the log extends its first `old` entries."""
        return consistency_proof(old, len(self.tree(new)), self.node)

    def receipt(self, call: PaperCall) -> str:
        """The receipt of a call's outcome."""
        extra = encode_extra(self.entries[call.outcome], call.openings(), None, self.rotations())
        return encode_proof(TlogProof(call.outcome, self.proof(call.outcome), self.signed(), extra))

    def policy_text(self) -> str:
        """The policy that demands both of the log's signatures."""
        ed25519, mldsa = _vkeys(self.pair)
        return f"log {ed25519}\nwitness log-pq {mldsa}\nquorum log-pq\n"

    def rooted_policy_text(self) -> str:
        """The same, with the log's root and its former keys."""
        former = [f"# regalia-until {index} {' '.join(_vkeys(pair))}\n" for index, pair in self.former]
        return f"# regalia-root {' '.join(_vkeys(self.root))}\n{''.join(former)}{self.policy_text()}"

    def policy(self) -> TrustPolicy:
        """The same, parsed."""
        return TrustPolicy.parse(self.policy_text())


def rooted_log(calls: int = 7) -> PaperLog:
    """A log with a root, whose keys have not changed yet."""
    log = PaperLog()
    log.open(root=_vkeys(log.root))
    for number in range(calls):
        log.end(log.begin(number))
    return log


def sample_log(calls: int = 7, origin: str = ORIGIN, keys: str = "log") -> PaperLog:
    """A small honest log: its opening, a model, and calls that overlap in pairs."""
    log = PaperLog(origin, keys)
    log.open()
    log.add(event("model.registered", name="smollm2", digest=DIGEST))
    for number in range(0, calls - 1, 2):
        first, second = log.begin(number), log.begin(number + 1)
        log.end(second)
        log.end(first)
    if calls % 2:
        log.end(log.begin(calls - 1))
    return log


DIGEST = "sha256:" + seed("weights").hex()


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """A record with the common fields."""
    return {"v": 1, "kind": kind, "time": TIME_MS} | fields


def call_id(number: int) -> str:
    """A call id."""
    return f"call_{number:026d}"


def admitted(call: PaperCall) -> dict[str, Any]:
    """The record `call.admitted`."""
    return event(
        "call.admitted",
        call=call.id,
        route="chat.completions",
        project=seed("project").hex()[:32],
        model="smollm2",
        stream=0,
        request=call.commitment("request"),
    )


def answered(call: PaperCall, admission: str) -> dict[str, Any]:
    """The record `call.answered`."""
    return event(
        "call.answered",
        call=call.id,
        admitted=admission,
        route="chat.completions",
        project=seed("project").hex()[:32],
        request=call.commitment("request"),
        response=call.commitment("response"),
        tokens=call.commitment("tokens"),
        model={"name": "smollm2", "digest": DIGEST},
        engine={"name": "embedded", "build": "xllamacpp", "digest": DIGEST, "isolation": "netns"},
        sampling={"seed": 42, "temperature": "0.7"},
        policy={"version": "none", "decision": "allow"},
        usage={"input": 12, "output": 3, "total": 15},
        finish=["stop"],
        status=200,
        started=TIME_MS,
        ended=TIME_MS + 250,
    )
