"""Wrong ways of changing a log's keys, and the reason with which each is rejected."""

import json
from copy import deepcopy
from typing import Any

import pytest

from regalia.ledger.writing import encode_extra, encode_proof
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import TlogProof, verify_receipt
from regalia_verify.record import canonical
from verify.paper_log import (
    ORIGIN,
    PaperLog,
    event,
    rooted_log,
    sample_log,
)
from verify.tampered import HONEST, IMPOSTOR, Log, LogTamper, add, run

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
