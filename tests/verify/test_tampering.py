"""Every way of tampering that we could think of, and the reason with which each is rejected.

A row is a name, the reason, and what an attacker does. For receipts the attacker holds an honest
receipt; for logs he holds the files, and in `REWRITTEN` he is the operator and signs anew.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from regalia.ledger.writing import encode_bundle, encode_extra, encode_proof
from regalia.notes import signature_line
from regalia_verify import note
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.log import verify_extension, verify_log
from regalia_verify.merkle import leaf_hash
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import Opening, TlogProof, verify_receipt
from regalia_verify.record import canonical
from regalia_verify.source import parse_bundle
from regalia_verify.strict import base64_text
from verify.paper_log import (
    ORIGIN,
    Files,
    PaperLog,
    Signer,
    admitted,
    answered,
    event,
    rooted_log,
    sample_log,
    seed,
)

FORMAT = "FormatError"  # cannot be read at all: exit status 2
HONEST = sample_log(7)
ELSEWHERE = sample_log(7, "other.example/log", "other")  # another log
IMPOSTOR = sample_log(7, keys="impostor")  # the same name, other keys
ALIEN = Signer("witness.example/w1", note.MLDSA44_COSIGNATURE, "w1")


@dataclass
class Receipt:
    """The parts of an honest receipt, to be changed."""

    log: PaperLog = field(default_factory=lambda: deepcopy(HONEST))
    text: str = ""
    request: bytes = b""
    response: bytes = b""

    def __post_init__(self) -> None:
        call = self.log.calls[3]
        self.index, self.entry = call.outcome, self.log.entries[call.outcome]
        self.hashes, self.checkpoint = list(self.log.proof(call.outcome)), self.log.signed()
        self.openings = call.openings()
        self.request, self.response = call.request, call.response
        self.policy = self.log.policy()
        self.extra: Any = None

    def become(self, number: int) -> None:
        """Show the receipt of another call of the same log for this call's files."""
        call = self.log.calls[number]
        self.index, self.entry, self.openings = call.outcome, self.log.entries[call.outcome], call.openings()
        self.hashes = list(self.log.proof(call.outcome))

    def change(self, **fields: Any) -> None:
        """Change the record."""
        self.entry = canonical(json.loads(self.entry) | fields)

    def extra_bytes(self) -> bytes:
        """The `extra` line's content."""
        return encode_extra(self.entry, self.openings) if self.extra is None else self.extra

    def encoded(self) -> str:
        """The receipt as text."""
        proof = TlogProof(self.index, tuple(self.hashes), self.checkpoint, self.extra_bytes())
        return self.text or encode_proof(proof)

    def replace(self, old: str, new: str) -> None:
        """Change the text."""
        text = self.encoded()
        assert old in text
        self.text = text.replace(old, new, 1)

    def reextra(self, old: bytes, new: bytes) -> None:
        """Change the JSON within `extra`."""
        extra = self.extra_bytes()
        assert old in extra
        self.extra = extra.replace(old, new, 1)


Tamper = Callable[[Receipt], object]


def flip(data: bytes, position: int = 0) -> bytes:
    """One bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def flipped_hash(receipt: Receipt) -> None:
    receipt.hashes[1] = flip(receipt.hashes[1])


def swap_openings(receipt: Receipt) -> None:
    openings = receipt.openings
    openings["request"], openings["response"] = openings["response"], openings["request"]


def set_opening(part: str, opening: Opening) -> Tamper:
    return lambda receipt: receipt.openings.__setitem__(part, opening)


def strip_signature(kind: str) -> Tamper:
    """Take one of the log's two signature lines away."""

    def strip(receipt: Receipt) -> None:
        name_and_id = base64_text(getattr(receipt.log, kind).key.key_id)[:5]
        lines = receipt.checkpoint.splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(f"— {ORIGIN} {name_and_id}")]
        assert len(kept) == len(lines) - 1
        receipt.checkpoint = "".join(kept)

    return strip


def older_checkpoint(receipt: Receipt) -> None:
    receipt.checkpoint = receipt.log.signed(receipt.index)


def policy_of(log: PaperLog) -> Tamper:
    return lambda receipt: setattr(receipt, "policy", log.policy())


def strangers_policy(receipt: Receipt) -> None:
    """Demand a witness who has not signed."""
    text = receipt.log.policy_text().replace("quorum log-pq", f"witness w {ALIEN.key.encode()}\nquorum w")
    receipt.policy = TrustPolicy.parse(text)


def zeroed_signature(receipt: Receipt) -> None:
    text, _, _ = receipt.checkpoint.partition("\n\n")
    line = receipt.log.mldsa.line(receipt.log.checkpoint())
    zeros = signature_line(note.Signature(ORIGIN, receipt.log.ed25519.key.key_id, bytes(64)))
    receipt.checkpoint = f"{text}\n\n{zeros}{line}"


def other_time(receipt: Receipt) -> None:
    """Keep the ML-DSA signature, claim that it is from another second."""
    receipt.checkpoint = receipt.log.signed(None, receipt.log.ed25519)
    signature = note.SignedNote.parse(receipt.log.signed()).signatures[1]
    blob = flip(signature.blob, 7)
    receipt.checkpoint += signature_line(note.Signature(signature.name, signature.key_id, blob))


def another_root(receipt: Receipt) -> None:
    receipt.checkpoint = receipt.checkpoint.replace(
        base64_text(receipt.log.checkpoint().root), base64_text(IMPOSTOR.checkpoint().root)
    )


def impersonate(receipt: Receipt) -> None:
    receipt.__dict__.update(Receipt(deepcopy(IMPOSTOR)).__dict__ | {"policy": HONEST.policy()})


def come_from_elsewhere(receipt: Receipt) -> None:
    receipt.__dict__.update(Receipt(deepcopy(ELSEWHERE)).__dict__ | {"policy": HONEST.policy()})


def renamed(receipt: Receipt) -> None:
    """Another log's checkpoint under this log's name."""
    receipt.checkpoint = ELSEWHERE.signed().replace(ELSEWHERE.origin, ORIGIN)


def spliced(receipt: Receipt) -> None:
    """An entry of another log, with that log's proof, under this log's checkpoint."""
    call = ELSEWHERE.calls[3]
    receipt.entry, receipt.openings = ELSEWHERE.entries[call.outcome], call.openings()
    receipt.hashes = list(ELSEWHERE.proof(call.outcome))


def the_admission(receipt: Receipt) -> None:
    receipt.index = receipt.log.calls[3].admission
    receipt.entry = receipt.log.entries[receipt.index]
    receipt.hashes = list(receipt.log.proof(receipt.index))


def refused_call(receipt: Receipt) -> None:
    """A receipt of a call that sent nothing, with somebody's response beside it."""
    log = receipt.log
    call = log.begin(100)
    kept = log.outcome(call, kind="call.refused", error="blocked", status=403)
    call.outcome = log.add(
        {name: value for name, value in kept.items() if name not in {"response", "tokens"}}
    )
    receipt.become(-1)
    receipt.openings = {"request": receipt.openings["request"]}
    receipt.request, receipt.checkpoint = call.request, log.signed()


def refused_call_with_opening(receipt: Receipt) -> None:
    refused_call(receipt)
    receipt.response = b""
    receipt.openings["response"] = Opening(bytes(32))


RECEIPTS: list[tuple[str, str, Tamper]] = [
    # the proof
    ("a bit of a proof hash flipped", "inclusion_proof", flipped_hash),
    ("proof hashes reordered", "inclusion_proof", lambda r: r.hashes.reverse()),
    ("proof hash missing", "inclusion_proof", lambda r: r.hashes.pop()),
    ("proof hash added", "inclusion_proof", lambda r: r.hashes.append(seed("x"))),
    ("proof empty", "inclusion_proof", lambda r: r.hashes.clear()),
    ("index of the entry before", "inclusion_proof", lambda r: setattr(r, "index", r.index - 1)),
    ("index beyond the log", "index_outside_tree", lambda r: setattr(r, "index", len(r.log.entries))),
    ("entry and proof of another log", "inclusion_proof", spliced),
    # the checkpoint
    ("checkpoint older than the entry", "index_outside_tree", older_checkpoint),
    ("size changed", "bad_signature", lambda r: r.replace("\n16\n", "\n17\n")),
    ("root changed", "bad_signature", another_root),
    ("origin changed", "unknown_log", lambda r: r.replace(f"\n\n{ORIGIN}\n", "\n\nother.example\n")),
    ("policy for another log", "unknown_log", policy_of(ELSEWHERE)),
    ("receipt of another log", "unknown_log", come_from_elsewhere),
    ("another log's checkpoint renamed", "log_signature_missing", renamed),
    ("same name, other keys", "log_signature_missing", impersonate),
    ("policy with other keys", "log_signature_missing", policy_of(IMPOSTOR)),
    ("Ed25519 signature stripped", "log_signature_missing", strip_signature("ed25519")),
    ("ML-DSA-44 signature stripped", "quorum_missing", strip_signature("mldsa")),
    ("Ed25519 signature zeroed", "bad_signature", zeroed_signature),
    ("time of the ML-DSA-44 signature changed", "bad_signature", other_time),
    ("witness that the policy demands is absent", "quorum_missing", strangers_policy),
    # the record
    ("model changed", "inclusion_proof", lambda r: r.change(model={"name": "m", "digest": "unknown"})),
    ("seed changed", "inclusion_proof", lambda r: r.change(sampling={"seed": 43, "temperature": "0.7"})),
    (
        "temperature changed",
        "inclusion_proof",
        lambda r: r.change(sampling={"seed": 42, "temperature": "0.8"}),
    ),
    (
        "policy decision changed",
        "inclusion_proof",
        lambda r: r.change(policy={"version": "1", "decision": "allow"}),
    ),
    ("time changed", "inclusion_proof", lambda r: r.change(time=1)),
    (
        "token count changed",
        "inclusion_proof",
        lambda r: r.change(usage={"input": 1, "output": 1, "total": 2}),
    ),
    ("request commitment changed", "inclusion_proof", lambda r: r.change(request=seed("x").hex())),
    ("field added", "inclusion_proof", lambda r: r.change(note="approved")),
    ("the admission shown as the outcome", "not_an_outcome", the_admission),
    # what the commitments are opened with
    ("receipt of another call", "request_mismatch", lambda r: r.become(2)),
    ("request of another call", "request_mismatch", lambda r: setattr(r, "request", r.log.calls[2].request)),
    ("request changed by a byte", "request_mismatch", lambda r: setattr(r, "request", flip(r.request))),
    (
        "request with a newline after it",
        "request_mismatch",
        lambda r: setattr(r, "request", r.request + b"\n"),
    ),
    ("request empty", "request_mismatch", lambda r: setattr(r, "request", b"")),
    ("response changed by a byte", "response_mismatch", lambda r: setattr(r, "response", flip(r.response))),
    ("response cut", "response_mismatch", lambda r: setattr(r, "response", r.response[:-1])),
    ("openings swapped", "request_mismatch", swap_openings),
    ("salt changed", "request_mismatch", set_opening("request", Opening(seed("x")))),
    (
        "tokens changed",
        "tokens_mismatch",
        set_opening("tokens", Opening(HONEST.calls[3].salts["tokens"], b"[[1]]")),
    ),
    (
        "request's content in the opening changed",
        "request_mismatch",
        set_opening("request", Opening(HONEST.calls[3].salts["request"], b"{}")),
    ),
    ("salt of the request withheld", "request_not_opened", lambda r: r.openings.pop("request")),
    ("salt of the response withheld", "response_not_opened", lambda r: r.openings.pop("response")),
    ("response for a call that had none", "response_not_committed", refused_call),
    ("opening for a call that had no response", "response_not_committed", refused_call_with_opening),
    # other spellings
    ("empty", FORMAT, lambda r: setattr(r, "text", "\n")),
    ("not a proof", FORMAT, lambda r: setattr(r, "text", '{"verified":true}')),
    ("no extra line", FORMAT, lambda r: r.replace(f"extra {base64_text(r.extra_bytes())}\n", "")),
    ("bytes after the receipt", FORMAT, lambda r: setattr(r, "text", r.encoded() + "\n")),
    ("receipt cut in half", FORMAT, lambda r: setattr(r, "text", r.encoded()[:1500])),
    ("last newline missing", FORMAT, lambda r: setattr(r, "text", r.encoded()[:-1])),
    ("two receipts in one", FORMAT, lambda r: setattr(r, "text", r.encoded() * 2)),
    ("CRLF line ends", FORMAT, lambda r: setattr(r, "text", r.encoded().replace("\n", "\r\n"))),
    ("leading zero in the index", FORMAT, lambda r: r.replace("index ", "index 0")),
    ("leading zero in the size", FORMAT, lambda r: r.replace("\n16\n", "\n016\n")),
    ("proof hash of 31 bytes", FORMAT, lambda r: r.hashes.__setitem__(0, r.hashes[0][:-1])),
    ("proof hash of 33 bytes", FORMAT, lambda r: r.hashes.__setitem__(0, r.hashes[0] + b"\0")),
    (
        "root of 31 bytes",
        FORMAT,
        lambda r: r.replace(base64_text(r.log.checkpoint().root), base64_text(r.log.checkpoint().root[:-1])),
    ),
    (
        "non-canonical base64 of a hash",
        FORMAT,
        lambda r: r.replace(base64_text(r.hashes[0]), base64_text(r.hashes[0])[:-2] + "B="),
    ),
    (
        "unpadded base64 of a hash",
        FORMAT,
        lambda r: r.replace(base64_text(r.hashes[0]), base64_text(r.hashes[0])[:-1]),
    ),
    ("checkpoint with an extension line", FORMAT, lambda r: r.replace("\n\n—", "\nextension\n\n—")),
    ("extra: trailing bytes", FORMAT, lambda r: r.reextra(b"}}}", b"}}} ")),
    ("extra: duplicate key", FORMAT, lambda r: r.reextra(b'{"entry":', b'{"entry":"","entry":')),
    ("extra: unknown key", FORMAT, lambda r: r.reextra(b'{"entry":', b'{"added":1,"entry":')),
    ("extra: a space", FORMAT, lambda r: r.reextra(b'"openings":', b'"openings": ')),
    (
        "extra: an unknown part",
        FORMAT,
        lambda r: r.reextra(b'{"request":', b'{"prompt":{"salt":""},"request":'),
    ),
    ("extra: salt of 31 bytes", FORMAT, set_opening("request", Opening(bytes(31)))),
    (
        "extra: salt missing",
        FORMAT,
        lambda r: setattr(
            r, "extra", canonical({"entry": base64_text(r.entry), "openings": {"request": {}}})
        ),
    ),
    (
        "extra: openings missing",
        FORMAT,
        lambda r: setattr(r, "extra", canonical({"entry": base64_text(r.entry)})),
    ),
    ("extra: an array", FORMAT, lambda r: setattr(r, "extra", b"[]")),
    (
        "entry: duplicate key",
        FORMAT,
        lambda r: setattr(r, "entry", r.entry.replace(b'"v":1', b'"v":1,"v":1')),
    ),
    ("entry: trailing byte", FORMAT, lambda r: setattr(r, "entry", r.entry + b"\n")),
    ("entry: another kind", FORMAT, lambda r: r.change(kind="call.praised")),
    ("entry: another version", FORMAT, lambda r: r.change(v=2)),
]


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in RECEIPTS])
def test_tampered_receipts_are_rejected(reason: str, tamper: Tamper) -> None:
    receipt = Receipt()
    verify_receipt(receipt.encoded(), receipt.policy, receipt.request, receipt.response)
    tamper(receipt)
    with pytest.raises((NotVerified, FormatError)) as caught:
        verify_receipt(receipt.encoded(), receipt.policy, receipt.request, receipt.response)
    assert getattr(caught.value, "reason", FORMAT) == reason, caught.value


def test_any_changed_byte_of_a_receipt_is_noticed() -> None:
    """Every byte matters: there is no other spelling of an honest receipt."""
    receipt = Receipt()
    text = receipt.encoded().encode()
    for position in range(0, len(text), 7):
        for changed in (flip(text, position), text[:position] + text[position + 1 :]):
            with pytest.raises((NotVerified, FormatError)):
                verify_receipt(changed, receipt.policy, receipt.request, receipt.response)


# -- logs ---------------------------------------------------------------------------------------------

LONG = sample_log(151)  # 304 entries: a full bundle and a partial one
LONG_FILES = LONG.publish()
FULL, PARTIAL = "tile/entries/000", "tile/entries/001.p/48"


@dataclass
class Log:
    """A published log, to be changed; or entries, to be published by a dishonest operator."""

    files: Files = field(default_factory=lambda: Files(LONG_FILES))
    log: PaperLog = field(default_factory=lambda: deepcopy(HONEST))
    policy: TrustPolicy = field(default_factory=LONG.policy)
    previous: bytes | None = None
    closed: bool = False
    signers: tuple[Signer, ...] = ()

    def edit(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Change a file."""
        assert change(self.files[path]) != self.files[path]
        self.files[path] = change(self.files[path])

    def edit_bundle(self, path: str, change: Callable[[list[bytes]], object]) -> None:
        """Change the entries of a bundle."""
        entries = parse_bundle(self.files[path])
        change(entries)
        self.edit(path, lambda _: encode_bundle(entries))

    def edit_tile_too(self, change: Callable[[list[bytes]], object]) -> None:
        """Change the entries of the partial bundle, and its tile to match."""
        self.edit_bundle(PARTIAL, change)
        leaves = [leaf_hash(entry) for entry in parse_bundle(self.files[PARTIAL])]
        self.edit("tile/0/001.p/48", lambda _: b"".join(leaves))

    def rewrite(self, index: int, **fields: Any) -> None:
        """Change a record."""
        self.log.entries[index] = canonical(json.loads(self.log.entries[index]) | fields)


def swap(entries: list[bytes]) -> None:
    entries[3], entries[4] = entries[4], entries[3]


def replaced(entries: list[bytes]) -> None:
    entries[5] = entries[5].replace(b'"seed":42', b'"seed":43').replace(b'"stream":0', b'"stream":1')


def splice_bundle(attempt: Log) -> None:
    other = sample_log(151, "other.example/log", "other").publish()
    attempt.files[FULL] = other[FULL]


def splice_bundle_and_tile(attempt: Log) -> None:
    other = sample_log(151, "other.example/log", "other").publish()
    attempt.files[FULL], attempt.files["tile/0/000"] = other[FULL], other["tile/0/000"]


def truncated(attempt: Log) -> None:
    """Drop the end of the log, keep the checkpoint."""
    for path in [path for path in attempt.files if "/001" in path]:
        del attempt.files[path]


def rolled_back(attempt: Log) -> None:
    """A shorter log, properly signed, shown to somebody who has seen more."""
    attempt.previous = LONG_FILES["checkpoint"]
    shorter = deepcopy(LONG)
    del shorter.entries[200:]
    attempt.files = shorter.publish()


def forked(attempt: Log, *, at: int) -> None:
    """The same log with another past, properly signed, shown to somebody who has seen the first."""
    attempt.previous = LONG.signed(at).encode()
    other = deepcopy(LONG)
    other.entries[3], other.entries[2] = other.entries[2], other.entries[3]
    attempt.files = other.publish()


def foreign_previous(attempt: Log) -> None:
    attempt.previous = ELSEWHERE.signed().encode()
    both = LONG.policy_text() + f"log {ELSEWHERE.ed25519.key.encode()}\n"
    attempt.policy = TrustPolicy.parse(both.replace("quorum log-pq", "quorum none"))


def bad_previous(attempt: Log) -> None:
    attempt.previous = IMPOSTOR.signed().encode()


LogTamper = Callable[[Log], object]
FILES: list[tuple[str, str, LogTamper]] = [
    ("entry replaced in a full bundle", "tile_mismatch", lambda a: a.edit_bundle(FULL, replaced)),
    ("entry replaced in a partial bundle", "tile_mismatch", lambda a: a.edit_bundle(PARTIAL, replaced)),
    ("entries reordered", "tile_mismatch", lambda a: a.edit_bundle(FULL, swap)),
    ("entry removed from a bundle", "bundle_malformed", lambda a: a.edit_bundle(PARTIAL, lambda e: e.pop())),
    (
        "entry added to a bundle",
        "bundle_malformed",
        lambda a: a.edit_bundle(PARTIAL, lambda e: e.append(e[0])),
    ),
    ("bundle of another log", "tile_mismatch", splice_bundle),
    ("bundle and tile of another log", "wrong_origin", splice_bundle_and_tile),
    (
        "entry replaced and its tile recomputed",
        "root_mismatch",
        lambda a: a.edit_tile_too(lambda e: e.__setitem__(0, e[0].replace(b'"seed":42', b'"seed":43'))),
    ),
    ("bundle with a trailing byte", "bundle_malformed", lambda a: a.edit(PARTIAL, lambda d: d + b"\0")),
    (
        "bundle with a trailing empty entry",
        "bundle_malformed",
        lambda a: a.edit(PARTIAL, lambda d: d + b"\0\0"),
    ),
    ("partial bundle cut", "bundle_malformed", lambda a: a.edit(PARTIAL, lambda d: d[:-1])),
    ("full bundle cut", "bundle_malformed", lambda a: a.edit(FULL, lambda d: d[:9000])),
    ("partial tile cut", "tile_malformed", lambda a: a.edit("tile/0/001.p/48", lambda d: d[:-1])),
    ("full tile cut", "tile_malformed", lambda a: a.edit("tile/0/000", lambda d: d[:-32])),
    ("full tile with a trailing byte", FORMAT, lambda a: a.edit("tile/0/000", lambda d: d + b"\0")),
    (
        "partial tile with a trailing byte",
        "tile_malformed",
        lambda a: a.edit("tile/1/000.p/1", lambda d: d + b"\0"),
    ),
    ("a bit of a level-0 tile flipped", "tile_mismatch", lambda a: a.edit("tile/0/000", flip)),
    ("a bit of a level-1 tile flipped", "tile_mismatch", lambda a: a.edit("tile/1/000.p/1", flip)),
    ("bundle missing", "file_missing", lambda a: a.files.pop(FULL)),
    ("tile of level 0 missing", "file_missing", lambda a: a.files.pop("tile/0/000")),
    ("tile of level 1 missing", "file_missing", lambda a: a.files.pop("tile/1/000.p/1")),
    ("log truncated", "file_missing", truncated),
    ("log rolled back", "log_shrunk", rolled_back),
    (
        "past rewritten since an older checkpoint within a bundle",
        "log_rewritten",
        lambda a: forked(a, at=100),
    ),
    (
        "past rewritten since an older checkpoint at a bundle's end",
        "log_rewritten",
        lambda a: forked(a, at=256),
    ),
    ("past rewritten at the same size", "log_rewritten", lambda a: forked(a, at=304)),
    ("older checkpoint of another log", "other_log", foreign_previous),
    ("older checkpoint by other keys", "log_signature_missing", bad_previous),
    ("older checkpoint unreadable", FORMAT, lambda a: setattr(a, "previous", b"x")),
    (
        "checkpoint of another log",
        "unknown_log",
        lambda a: a.files.update(checkpoint=ELSEWHERE.signed().encode()),
    ),
    (
        "checkpoint by other keys",
        "log_signature_missing",
        lambda a: a.files.update(checkpoint=IMPOSTOR.signed().encode()),
    ),
    (
        "checkpoint with a larger size",
        "bad_signature",
        lambda a: a.edit("checkpoint", lambda d: d.replace(b"\n304\n", b"\n305\n")),
    ),
    (
        "checkpoint without the ML-DSA-44 signature",
        "quorum_missing",
        lambda a: a.files.update(checkpoint=LONG.signed(None, LONG.ed25519).encode()),
    ),
    ("checkpoint missing", FORMAT, lambda a: a.files.pop("checkpoint")),
    ("checkpoint empty", FORMAT, lambda a: a.files.update(checkpoint=b"")),
    ("checkpoint with a trailing byte", FORMAT, lambda a: a.edit("checkpoint", lambda d: d + b"\n")),
]


def add(*records: dict[str, Any]) -> LogTamper:
    return lambda attempt: [attempt.log.add(record) for record in records]


def second_outcome(attempt: Log) -> None:
    attempt.log.end(attempt.log.calls[3])


def outcome_first(attempt: Log) -> None:
    """The outcome names an admission that follows it."""
    call = attempt.log.begin(50)
    admission = attempt.log.entries.pop()
    attempt.log.add(answered(call, leaf_hash(admission).hex()))
    attempt.log.entries.append(admission)


def outcome_of_another(attempt: Log) -> None:
    """The outcome names the admission of another open call."""
    first, second = attempt.log.begin(50), attempt.log.begin(51)
    attempt.log.add(answered(first, leaf_hash(attempt.log.entries[second.admission]).hex()))


def outcome_that_differs(**fields: str) -> LogTamper:
    def differ(attempt: Log) -> None:
        attempt.log.end(attempt.log.begin(50), **fields)

    return differ


def still_open(attempt: Log) -> None:
    attempt.log.begin(50)
    attempt.closed = True


def headless(attempt: Log) -> None:
    del attempt.log.entries[0]


def raw_entry(entry: bytes) -> LogTamper:
    return lambda attempt: attempt.log.entries.append(entry)


OPENED = {"origin": ORIGIN, "software": "regalia/0.1.0", "keys": ["a", "b"]}
ABORTED = {"admitted": seed("x").hex(), "reason": "crash"}
REWRITTEN: list[tuple[str, str, LogTamper]] = [
    ("no log.opened", "log_opened", headless),
    ("a second log.opened", "log_opened", add(event("log.opened", **OPENED))),
    ("opened under another origin", "wrong_origin", lambda a: a.rewrite(0, origin="other.example/log")),
    ("a call admitted twice at once", "second_admission", add(admitted(HONEST.calls[3]))),
    (
        "a second admission while the call is open",
        "second_admission",
        lambda a: [a.log.begin(50), a.log.begin(50)],
    ),
    ("a second outcome", "second_outcome", second_outcome),
    (
        "an abortion after the outcome",
        "second_outcome",
        add(event("call.aborted", call=HONEST.calls[3].id, **ABORTED)),
    ),
    (
        "an outcome without admission",
        "outcome_without_admission",
        add(event("call.aborted", call="call_" + "z" * 26, **ABORTED)),
    ),
    ("an outcome before its admission", "outcome_without_admission", outcome_first),
    ("an outcome that names another admission", "wrong_admission", outcome_of_another),
    ("an outcome for another request", "outcome_differs", outcome_that_differs(request=seed("x").hex())),
    ("an outcome for another project", "outcome_differs", outcome_that_differs(project="0" * 32)),
    ("an outcome on another route", "outcome_differs", outcome_that_differs(route="completions")),
    (
        "an admission rewritten",
        "wrong_admission",
        lambda a: a.rewrite(a.log.calls[3].admission, model="other"),
    ),
    ("an outcome left out of a closed log", "outcome_missing", still_open),
    ("an entry that is not JSON", "record_malformed", raw_entry(b"hello")),
    ("an empty entry", "record_malformed", raw_entry(b"")),
    (
        "an entry with a duplicate key",
        "record_malformed",
        raw_entry(b'{"kind":"admin.x","kind":"admin.x","time":1,"v":1}'),
    ),
    ("an entry with a space", "record_malformed", raw_entry(b'{"kind":"admin.x","time":1, "v":1}')),
    ("an entry of an unknown kind", "record_malformed", add(event("call.forgotten"))),
    ("an entry of another version", "record_malformed", add(event("admin.x") | {"v": 2})),
    (
        "an outcome without a field",
        "record_malformed",
        lambda a: a.log.add(
            {name: value for name, value in json.loads(a.log.entries[-1]).items() if name != "response"}
        ),
    ),
]


def run(attempt: Log) -> None:
    """Verify the log as an auditor would."""
    verify_log(attempt.files, attempt.policy, previous=attempt.previous, closed=attempt.closed)


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in FILES])
def test_tampered_log_files_are_rejected(reason: str, tamper: LogTamper) -> None:
    attempt = Log()
    tamper(attempt)
    with pytest.raises((NotVerified, FormatError)) as caught:
        run(attempt)
    assert getattr(caught.value, "reason", FORMAT) == reason, caught.value


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in REWRITTEN])
def test_logs_that_a_dishonest_operator_signs_are_rejected(reason: str, tamper: LogTamper) -> None:
    attempt = Log()
    tamper(attempt)
    attempt.files = attempt.log.publish()
    with pytest.raises(NotVerified) as caught:
        run(attempt)
    assert caught.value.reason == reason, caught.value


EXTENSIONS: list[tuple[str, str, str, str, LogTamper]] = [
    (
        "the newer root is not the tiles'",
        "root_mismatch",
        LONG.signed(5),
        LONG.signed(),
        lambda a: a.edit("tile/0/001.p/48", flip),
    ),
    (
        "the older root is not the tiles'",
        "log_rewritten",
        IMPOSTOR.signed(5, *LONG.pair),
        LONG.signed(),
        lambda a: None,
    ),
    ("a tile is missing", "file_missing", LONG.signed(5), LONG.signed(), lambda a: a.files.pop("tile/0/000")),
    ("old and new exchanged", "log_shrunk", LONG.signed(), LONG.signed(5), lambda a: None),
    ("old by other keys", "log_signature_missing", IMPOSTOR.signed(5), LONG.signed(), lambda a: None),
    (
        "new without ML-DSA-44",
        "quorum_missing",
        LONG.signed(5),
        LONG.signed(None, LONG.ed25519),
        lambda a: None,
    ),
]


@pytest.mark.parametrize(
    ("reason", "old", "new", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in EXTENSIONS]
)
def test_checkpoints_that_do_not_extend_are_rejected(
    reason: str, old: str, new: str, tamper: LogTamper
) -> None:
    attempt = Log()
    tamper(attempt)
    with pytest.raises(NotVerified) as caught:
        verify_extension(old.encode(), new.encode(), LONG.policy(), attempt.files)
    assert caught.value.reason == reason, caught.value


# -- keys that change ---------------------------------------------------------------------------------

ROOTED = rooted_log()
ROTATED = deepcopy(ROOTED)
ROTATED.rotate()
ROTATED.end(ROTATED.begin(20))
STRANGER = sample_log(7, keys="stranger")
PINNED = TrustPolicy.parse(ROOTED.rooted_policy_text())  # before any rotation
REPRINTED = TrustPolicy.parse(ROTATED.rooted_policy_text())


def rotated_by(**signers: Any) -> LogTamper:
    """The operator rotates with a record that others than his log and its root have signed."""
    return lambda attempt: attempt.log.rotate(attempt.log.rotation(IMPOSTOR.pair, **signers))


def half_signed(by: str, count: int) -> LogTamper:
    """Not all of the keys have signed the rotation."""

    def rotate(attempt: Log) -> None:
        record = attempt.log.rotation(attempt.log.pair)
        attempt.log.rotate()
        record = json.loads(attempt.log.entries.pop())
        record["signatures"][by] = record["signatures"][by][:count]
        attempt.log.add(record)

    return rotate


def replayed(attempt: Log) -> None:
    """A rotation of another log with the same root and keys."""
    other = PaperLog(origin="other.example/log")
    other.ed25519, other.mldsa, other.root = *attempt.log.pair, attempt.log.root
    attempt.log.rotate(other.rotation(STRANGER.pair))


def renamed_replay(attempt: Log) -> None:
    """The same, with this log's name written over the other's."""
    other = PaperLog(origin="other.example/log")
    other.ed25519, other.mldsa, other.root = *attempt.log.pair, attempt.log.root
    attempt.log.rotate(other.rotation(STRANGER.pair) | {"origin": attempt.log.origin})


def signed_by_retired(attempt: Log) -> None:
    """After the rotation the former keys sign again."""
    former = attempt.log.pair
    attempt.log.rotate()
    attempt.log.end(attempt.log.begin(30))
    attempt.signers = former


def repeated(attempt: Log) -> None:
    """A rotation back to keys that were retired."""
    first = attempt.log.pair
    attempt.log.rotate()
    attempt.log.rotate(attempt.log.rotation(first))
    attempt.signers = first


def other_root(attempt: Log) -> None:
    attempt.log.entries[0] = canonical(
        json.loads(attempt.log.entries[0]) | {"root": [signer.key.encode() for signer in STRANGER.root]}
    )


def rootless_policy(attempt: Log) -> None:
    attempt.policy = ROOTED.policy()
    attempt.log.rotate()
    attempt.signers = attempt.log.former[0][1]


def changed_afterwards(attempt: Log) -> None:
    attempt.log.rotate()
    attempt.rewrite(-1, keys=[signer.key.encode() for signer in STRANGER.pair])


KEYS: list[tuple[str, str, LogTamper]] = [
    ("a rotation that the root has not signed", "rotation_unsigned", half_signed("root", 0)),
    ("a rotation that one of the root's keys has signed", "rotation_unsigned", half_signed("root", 1)),
    ("a rotation that the log's keys have not signed", "rotation_unsigned", half_signed("log", 0)),
    ("a rotation that one of the log's keys has signed", "rotation_unsigned", half_signed("log", 1)),
    ("a rotation by another root", "rotation_signature", rotated_by(root=STRANGER.root)),
    ("a rotation by another log's keys", "rotation_signature", rotated_by(by=STRANGER.pair)),
    ("a rotation by the root alone", "rotation_signature", rotated_by(by=ROOTED.root)),
    ("a rotation by the log alone", "rotation_signature", rotated_by(root=ROOTED.pair)),
    ("a rotation replayed from another log", "wrong_origin", replayed),
    ("a rotation replayed from another log, renamed", "rotation_signature", renamed_replay),
    ("a checkpoint by a retired key", "retired_key", signed_by_retired),
    ("a rotation back to retired keys", "retired_key", repeated),
    ("a log that names another root", "wrong_root", other_root),
    (
        "a log without the policy's root",
        "wrong_root",
        lambda a: a.log.entries.__setitem__(0, HONEST.entries[0]),
    ),
    (
        "a second root",
        "second_root",
        add(event("log.root_added", origin=ORIGIN, root=[s.key.encode() for s in STRANGER.root])),
    ),
    ("a rotation, and a policy without the root", "no_root", rootless_policy),
    ("keys in the rotation changed afterwards", "rotation_signature", changed_afterwards),
]


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in KEYS])
def test_logs_whose_keys_change_wrongly_are_rejected(reason: str, tamper: LogTamper) -> None:
    attempt = Log(log=deepcopy(ROOTED), policy=PINNED)
    tamper(attempt)
    attempt.files = attempt.log.publish(*attempt.signers)
    with pytest.raises(NotVerified) as caught:
        run(attempt)
    assert caught.value.reason == reason, caught.value


@pytest.mark.parametrize("policy", [PINNED, REPRINTED, ROTATED.policy()], ids=["old", "new", "rootless"])
def test_a_log_whose_keys_were_rotated_verifies(policy: TrustPolicy) -> None:
    run(Log(files=ROTATED.publish(), policy=policy))


def test_a_log_whose_keys_were_rotated_twice_verifies_from_each_policy() -> None:
    log = deepcopy(ROTATED)
    log.rotate()
    log.end(log.begin(21))
    for policy in (PINNED, REPRINTED, TrustPolicy.parse(log.rooted_policy_text())):
        run(Log(files=log.publish(), policy=policy, previous=ROOTED.signed().encode()))
        verify_receipt(log.receipt(log.calls[-1]), policy)
        verify_receipt(log.receipt(log.calls[0]), policy)


def test_a_root_that_was_added_later_counts() -> None:
    log = deepcopy(HONEST)
    log.add(event("log.root_added", origin=ORIGIN, root=[signer.key.encode() for signer in log.root]))
    policy = TrustPolicy.parse(log.rooted_policy_text())
    log.rotate()
    run(Log(files=log.publish(), policy=policy))


def test_receipts_from_before_and_after_a_rotation_verify() -> None:
    before, after = ROOTED.receipt(ROOTED.calls[3]), ROTATED.receipt(ROTATED.calls[-1])
    for policy in (PINNED, REPRINTED):
        verify_receipt(before, policy)
        verify_receipt(after, policy)
    verify_receipt(after, ROTATED.policy())  # who knows the present keys needs no root
    with pytest.raises(NotVerified, match="does not name its root"):
        verify_receipt(after, ROOTED.policy())


def receipt_with(rotations: list[Any], log: PaperLog = ROTATED, checkpoint: str = "") -> str:
    call = log.calls[-1]
    extra = encode_extra(log.entries[call.outcome], call.openings(), None, rotations)
    return encode_proof(TlogProof(call.outcome, log.proof(call.outcome), checkpoint or log.signed(), extra))


def swapped_rotation(**signers: Any) -> str:
    """A receipt whose checkpoint strange keys signed, with a rotation to them that is not in the log."""
    ((index, _, hashes),) = ROTATED.rotations()
    entry = canonical(ROOTED.rotation(STRANGER.pair, **signers))
    return receipt_with([(index, entry, hashes)], checkpoint=ROTATED.signed(None, *STRANGER.pair))


((AT, ROTATION, PROOF),) = ROTATED.rotations()
OUTCOME = ROTATED.calls[-1].outcome
RECEIPT_KEYS: list[tuple[str, str, TrustPolicy, str]] = [
    ("the rotation left out", "log_signature_missing", PINNED, receipt_with([])),
    ("by retired keys", "retired_key", PINNED, receipt_with(
        ROTATED.rotations(), checkpoint=ROTATED.signed(None, *ROOTED.pair))),
    ("by retired keys, the rotation left out", "retired_key", REPRINTED, receipt_with(
        [], checkpoint=ROTATED.signed(None, *ROOTED.pair))),
    ("a rotation that is not in the log", "inclusion_proof", PINNED, swapped_rotation()),
    ("a rotation by another root", "rotation_signature", PINNED, swapped_rotation(root=STRANGER.root)),
    ("a rotation by other keys", "rotation_signature", PINNED, swapped_rotation(by=STRANGER.pair)),
    ("a rotation said to be later", "inclusion_proof", PINNED, receipt_with([(AT + 1, ROTATION, PROOF)])),
    ("a rotation said to be beyond the tree", "index_outside_tree", PINNED, receipt_with(
        [(9999, ROTATION, PROOF)], checkpoint=ROTATED.signed(None, *ROOTED.pair)
    )),
    ("another record as rotation", "wrong_origin", PINNED, receipt_with(
        [(OUTCOME, ROTATED.entries[OUTCOME], ROTATED.proof(OUTCOME))])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "policy", "text"), [pytest.param(*row[1:], id=row[0]) for row in RECEIPT_KEYS]
)
def test_receipts_with_wrong_rotations_are_rejected(reason: str, policy: TrustPolicy, text: str) -> None:
    verify_receipt(receipt_with(ROTATED.rotations()), policy)
    with pytest.raises(NotVerified) as caught:
        verify_receipt(text, policy)
    assert caught.value.reason == reason, caught.value


@pytest.mark.parametrize(
    "rotations", [b"1", b'""', b"[1]", b'[{"entry":"","index":1}]', b'[{"entry":"","index":"1","proof":[]}]']
)
def test_rotations_of_another_form_are_unreadable(rotations: bytes) -> None:
    extra = encode_extra(ROTATED.entries[OUTCOME], {})[:-1] + b',"rotations":' + rotations + b"}"
    proof = TlogProof(OUTCOME, ROTATED.proof(OUTCOME), ROTATED.signed(), extra)
    with pytest.raises(FormatError):
        verify_receipt(encode_proof(proof), PINNED)


# -- a log that goes on where another had to end ------------------------------------------------------


def test_a_log_that_continues_another_verifies_from_the_other_s_end() -> None:
    end = ROOTED.checkpoint()
    log = PaperLog("llm.example.org/log-2", "second")
    log.open(previous={"origin": end.origin, "size": end.size, "root": end.root.hex()})
    both = TrustPolicy.parse(
        ROOTED.policy_text().replace("quorum log-pq\n", "")
        + log.policy_text().replace("log-pq", "pq-2").replace("quorum", "group any-log any log-pq")
        + "quorum any-log\n"
    )
    run(Log(files=log.publish(), policy=both, previous=ROOTED.signed().encode()))
    for other in (ROOTED.signed(5), sample_log(9).signed()):
        with pytest.raises(NotVerified) as caught:
            run(Log(files=log.publish(), policy=both, previous=other.encode()))
        assert caught.value.reason in {"other_log", "log_signature_missing"}


TABLES: list[list[Any]] = [RECEIPTS, FILES, REWRITTEN, EXTENSIONS, KEYS, RECEIPT_KEYS]


def test_there_are_enough_rows_and_each_has_its_own_name() -> None:
    names = [row[0] for rows in TABLES for row in rows]
    assert len(names) >= 140
    assert len({(number, row[0]) for number, rows in enumerate(TABLES) for row in rows}) == len(names)
    print(f"{len(names)} ways of tampering:", *names, sep="\n  ")


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 303, 304])
def test_an_honest_log_extends_its_older_checkpoints(size: int) -> None:
    run(Log(previous=LONG.signed(size).encode()))


def test_the_honest_logs_verify() -> None:
    run(Log())
    run(Log(files=HONEST.publish(), closed=True))
