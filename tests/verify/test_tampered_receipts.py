"""Every way of tampering with a receipt that we could think of, and the reason with which it is rejected.

A row is a name, the reason, and what an attacker does who holds an honest receipt.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from regalia.ledger.writing import encode_extra, encode_proof
from regalia.notes import signature_line
from regalia_verify import note
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import Opening, TlogProof, verify_receipt
from regalia_verify.record import canonical
from regalia_verify.strict import base64_text
from verify.paper_log import (
    ORIGIN,
    PaperLog,
    seed,
)
from verify.tampered import ALIEN, ELSEWHERE, FORMAT, HONEST, IMPOSTOR, flip


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
