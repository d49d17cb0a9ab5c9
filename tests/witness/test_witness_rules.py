"""Each rule of the witness protocol, and what a witness keeps when a log breaks them."""

from pathlib import Path

import msgspec
import pytest

from regalia.witness.book import REMEMBERED, Book, Entry
from regalia.witness.consistency import consistency_proof
from regalia.witness.errors import Refused, WitnessError
from regalia.witness.request import AddCheckpoint
from regalia.witness.witness import Witness, logs_of
from regalia_verify.errors import NotVerified
from regalia_verify.note import ED25519, Checkpoint, Signature, SignedNote, verify
from regalia_verify.policy import TrustPolicy
from verify.paper_log import Signer
from witness.witnessing import Growing, a_log, a_witness, trust_text

NOW_S = 1_800_000_000


def refused(witness: Witness, request: AddCheckpoint) -> Refused:
    with pytest.raises(Refused) as caught:
        witness.cosign(request)
    return caught.value


@pytest.fixture
def log() -> Growing:
    return a_log(10)


@pytest.fixture
def witness(tmp_path: Path, log: Growing) -> Witness:
    return a_witness(tmp_path / "w", log)


def test_both_cosignatures_over_one_time_reach_a_quorum_of_both_keys(witness: Witness, log: Growing) -> None:
    ed25519, mldsa44 = witness.cosign(log.request(0))
    assert ed25519.timestamp == mldsa44.timestamp == NOW_S
    note = log.note()
    cosigned = SignedNote(note.text, (*note.signatures, ed25519, mldsa44))
    endorsement = TrustPolicy.parse(trust_text(log, [witness])).check(cosigned)
    assert endorsement.witnessed
    assert endorsement.witnesses == {"w0-ed25519": NOW_S, "w0-mldsa44": NOW_S}


def test_quorum_of_two_witnesses_needs_both(tmp_path: Path, witness: Witness, log: Growing) -> None:
    second = a_witness(tmp_path / "w2", log, name="witness.example/2")
    policy = TrustPolicy.parse(trust_text(log, [witness, second]))
    note = log.note()
    one = SignedNote(note.text, (*note.signatures, *witness.cosign(log.request(0))))
    with pytest.raises(NotVerified, match="quorum"):
        policy.check(one)
    both = SignedNote(note.text, (*one.signatures, *second.cosign(log.request(0))))
    assert policy.check(both).witnessed


def test_growth_from_every_size_to_every_size_is_cosigned(tmp_path: Path) -> None:
    log = a_log(9)
    for old in range(1, 9):
        for new in range(old, 10):
            witness = a_witness(tmp_path / f"{old}-{new}", log)
            witness.cosign(log.request(0, old))
            witness.cosign(log.request(old, new))
            witness.close()


def test_an_empty_log_is_cosigned_and_may_grow(tmp_path: Path) -> None:
    log = a_log(0)
    witness = a_witness(tmp_path / "w", log)
    witness.cosign(log.request(0))
    witness.cosign(log.request(0))
    log.grow(3)
    witness.cosign(log.request(0))
    assert refused(witness, log.request(0)).size == 3


def test_unknown_log_is_404(witness: Witness) -> None:
    assert refused(witness, a_log(3, origin="other.example/log").request(0)).status == 404


def test_a_checkpoint_without_a_trusted_signature_is_403(witness: Witness, log: Growing) -> None:
    stranger = a_log(10, keys="stranger")
    assert refused(witness, stranger.request(0)).code == "log_signature_missing"
    only_other_key = msgspec.structs.replace(log.request(0), note=log.note(None, log.mldsa))
    assert refused(witness, only_other_key).status == 403


def test_a_wrong_signature_under_a_known_name_and_id_is_403(witness: Witness, log: Growing) -> None:
    request = log.request(0)
    for position in range(2):
        signatures = list(request.note.signatures)
        good = signatures[position]
        signatures[position] = Signature(good.name, good.key_id, good.blob[:-1] + bytes([good.blob[-1] ^ 1]))
        note = SignedNote(request.note.text, tuple(signatures))
        assert refused(witness, msgspec.structs.replace(request, note=note)).code == "bad_signature"


def test_signatures_by_unknown_keys_are_ignored_and_not_kept(witness: Witness, log: Growing) -> None:
    other = Signer("someone.example", ED25519, "someone")
    log_keys = (log.ed25519, log.mldsa)
    witness.cosign(msgspec.structs.replace(log.request(0), note=log.note(None, *log_keys, other)))
    [(_, entry)] = witness.logs()
    assert entry is not None
    names = [signature.name for signature in SignedNote.parse(entry.note).signatures]
    assert names == [log.origin, log.origin, witness.name, witness.name]


def test_old_size_above_the_checkpoint_is_400(witness: Witness, log: Growing) -> None:
    request = msgspec.structs.replace(log.request(0), old=11)
    assert refused(witness, request).status == 400


def test_another_old_size_than_the_latest_is_409_with_the_latest(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 6))
    for old in (0, 3, 5, 7):
        refusal = refused(witness, log.request(old, 8))
        assert (refusal.status, refusal.size) == (409, 6)
    assert refused(witness, msgspec.structs.replace(log.request(0), old=4)).size == 6


def test_a_proof_for_an_old_size_of_zero_is_422(witness: Witness, log: Growing) -> None:
    assert refused(witness, msgspec.structs.replace(log.request(0), proof=(bytes(32),))).status == 422


def test_a_wrong_proof_is_422_and_kept_as_unproven_once(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 6))
    good = log.request(6, 10)
    for proof in ((), good.proof[1:], (*good.proof, bytes(32)), good.proof[::-1], (bytes(32),) * 4):
        assert refused(witness, msgspec.structs.replace(good, proof=proof)).status == 422
    [(place, case)] = witness.evidence.cases()
    assert (case.kind, case.cosigned_size, case.submitted_size) == ("unproven", 6, 10)
    assert AddCheckpoint.parse((place / "request").read_bytes()).checkpoint == log.checkpoint()
    witness.cosign(good)


def test_a_rollback_is_refused_and_nothing_changes(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 8))
    for old, size in ((0, 5), (5, 5), (8, 8), (5, 8)):
        request = log.request(old, size)
        if (old, size) == (8, 8):
            witness.cosign(request)  # the same tree again: a lost reply is asked for once more
        else:
            assert refused(witness, request).size == 8
    assert refused(witness, msgspec.structs.replace(log.request(5, 5), old=8)).status == 400
    assert witness.evidence.cases() == []


def test_a_replayed_request_is_refused(witness: Witness, log: Growing) -> None:
    requests = [log.request(0, 4), log.request(4, 7), log.request(7, 10)]
    for request in requests:
        witness.cosign(request)
    for request in requests:
        assert refused(witness, request).size == 10
    [(_, entry)] = witness.logs()
    assert entry is not None and entry.checkpoint == log.checkpoint()


def test_two_roots_for_one_size_are_kept_as_evidence_that_anyone_can_check(
    witness: Witness, log: Growing
) -> None:
    witness.cosign(log.request(0, 8))
    fork = log.fork(5, 3)
    assert refused(witness, fork.request(8)).status == 422
    [(place, case)] = witness.evidence.cases()
    assert (case.kind, case.origin, case.cosigned_size, case.submitted_size) == (
        "equivocation", log.origin, 8, 8,
    )  # fmt: skip
    notes = [SignedNote.parse((place / name).read_bytes()) for name in ("cosigned.note", "submitted.note")]
    for note in notes:
        log.policy().check(note)  # both are signed by the log
    trees = [Checkpoint.parse(note.text) for note in notes]
    assert trees[0].size == trees[1].size and trees[0].root != trees[1].root


def test_a_fork_at_a_size_cosigned_earlier_is_evidence_too(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 6))
    witness.cosign(log.request(6, 10))
    fork = log.fork(3, 3)
    assert refused(witness, fork.request(0)).status == 409
    assert refused(witness, fork.request(0)).status == 409
    [(_, case)] = witness.evidence.cases()
    assert (case.kind, case.submitted_size) == ("equivocation", 6)


def test_a_split_view_is_refused_whatever_proof_comes_with_it(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 8))
    fork = log.fork(4, 12)
    refusal = refused(witness, fork.request(8))
    assert (refusal.status, refusal.suspicion) == (422, "unproven")
    log.grow(6)
    honest_proof = msgspec.structs.replace(fork.request(8), proof=consistency_proof(8, 16, log.node))
    assert refused(witness, honest_proof).status == 422
    witness.cosign(log.request(8))


def test_evidence_is_bounded_and_unproven_cases_leave_room_for_equivocation(
    witness: Witness, log: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.witness.evidence.MAX_CASES", 2)
    witness.cosign(log.request(0, 3))
    for size in range(4, 9):
        assert refused(witness, msgspec.structs.replace(log.request(3, size), proof=())).status == 422
    refused(witness, log.fork(1, 2).request(3))
    assert sorted(case.kind for _, case in witness.evidence.cases()) == [
        "equivocation", "unproven", "unproven",
    ]  # fmt: skip


def test_evidence_that_cannot_be_written_does_not_change_the_answer(
    witness: Witness, log: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(witness.evidence, "_write", full)
    witness.cosign(log.request(0, 8))
    assert refused(witness, log.fork(5, 3).request(8)).status == 422


def test_trust_takes_every_log_of_a_policy_and_replaces_keys(witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 5))
    successor = Growing(log.origin, "new key", log.entries)
    keys = (successor.ed25519.key, a_log(0, "b.example", "b").ed25519.key)
    witness.trust("".join(f"log {key.encode()}\n" for key in keys) + "quorum none\n")
    assert [known.origin for known, _ in witness.logs()] == ["b.example", log.origin]
    assert refused(witness, log.request(5)).status == 403
    witness.cosign(successor.request(5))


def test_a_log_with_two_log_lines_may_sign_with_either(tmp_path: Path) -> None:
    log = a_log(4)
    text = f"log {log.ed25519.key.encode()}\nlog {log.mldsa.key.encode()}\nquorum none\n"
    [trusted] = logs_of(text)
    assert trusted.keys == (log.ed25519.key, log.mldsa.key)
    witness = a_witness(tmp_path / "w")
    witness.trust(text)
    witness.cosign(msgspec.structs.replace(log.request(0), note=log.note(None, log.mldsa)))


def test_logs_are_apart(tmp_path: Path) -> None:
    first, second = a_log(5), a_log(7, "second.example/log", "second")
    witness = a_witness(tmp_path / "w", first, second)
    witness.cosign(first.request(0))
    witness.cosign(second.request(0))
    assert refused(witness, first.request(0)).size == 5
    assert refused(witness, second.request(0)).size == 7


def test_time_never_runs_backwards_in_cosignatures(tmp_path: Path) -> None:
    log = a_log(5)
    now = [2_000_000]
    witness = Witness.create(tmp_path / "w", "witness.example", clock=lambda: now[0])
    witness.trust(log.policy_text())
    times: list[int] = []
    for clock in (2_000_000, 1_000_000, 3_000_000):
        now[0] = clock
        size = len(times) + 1
        times.append(witness.cosign(log.request(size - 1, size))[0].timestamp)
    assert times == [2000, 2000, 3000]


def test_state_survives_reopening(tmp_path: Path, witness: Witness, log: Growing) -> None:
    witness.cosign(log.request(0, 6))
    witness.close()
    again = Witness.open(tmp_path / "w")
    assert again.keys == witness.keys
    assert refused(again, log.request(0)).size == 6
    for signature, key in zip(again.cosign(log.request(6)), again.keys, strict=True):
        verify(log.note().text, signature, key)


def test_the_book_forgets_old_checkpoints_but_never_the_latest(tmp_path: Path) -> None:
    log = a_log(1)
    witness = a_witness(tmp_path / "w", log)
    book = witness._book
    book._connection.execute("PRAGMA synchronous=OFF")
    for size in range(1, REMEMBERED + 11):
        entry = Entry(Checkpoint(log.origin, size, bytes(32)), 1, "note")
        book.enter(logs_of(log.policy_text())[0], size, lambda *_, entry=entry: entry)
    latest = book.latest(log.origin)
    assert latest is not None and latest.checkpoint.size == REMEMBERED + 10
    assert book.at(log.origin, 10) is None
    assert book.at(log.origin, 11) is not None


def test_a_witness_without_its_book_or_with_an_unknown_one_does_not_start(
    tmp_path: Path, witness: Witness
) -> None:
    witness.close()
    book = Book.open(tmp_path / "w" / "witness.db")
    book._connection.execute("PRAGMA user_version = 9")
    book.close()
    with pytest.raises(WitnessError, match="schema 9"):
        Witness.open(tmp_path / "w")
    (tmp_path / "w" / "witness.db").unlink()
    with pytest.raises(WitnessError, match="lost its book"):
        Witness.open(tmp_path / "w")


def test_keys_that_others_may_read_are_refused(tmp_path: Path, witness: Witness) -> None:
    key = tmp_path / "w" / "keys" / "witness-mldsa44.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(WitnessError, match="chmod 600"):
        Witness.open(tmp_path / "w")


def test_a_second_witness_in_the_same_folder_is_refused(tmp_path: Path, witness: Witness) -> None:
    with pytest.raises(WitnessError, match="already"):
        Witness.create(tmp_path / "w", "other")
