"""Other people's implementations agree: Go's sumdb on our logs, and we on Tessera's log."""

import subprocess
from pathlib import Path

import pytest

from regalia.witness.consistency import consistency_proof, verify_consistency
from regalia_verify import note
from regalia_verify.errors import NotVerified
from regalia_verify.merkle import leaf_hash, root_hash
from regalia_verify.note import SignedNote
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Folder, TiledLog
from verify.paper_log import PaperLog, sample_log

TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
TESSERA_LEAVES = [
    *("one", "two", "three", "four", "five", "six", "seven", "eit", "nain", "ten"),
    *("ileven", "twelf", "threeten", "fourten", "fivten"),
]


def go(program: Path, log: PaperLog, folder: Path, *receipts: Path) -> subprocess.CompletedProcess[str]:
    """Run the Go verifier."""
    command: list[str | Path] = [program, folder, log.ed25519.key.encode(), *receipts]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("calls", [0, 1, 7, 127, 151, 400])
def test_go_verifies_our_logs_and_receipts(go_verify: Path, tmp_path: Path, calls: int) -> None:
    log = sample_log(calls)
    folder = log.publish().write(tmp_path / "log")
    receipts = []
    for number in {0, calls // 2, calls - 1} if calls else set():
        receipts.append(tmp_path / f"{number}.tlog-proof")
        receipts[-1].write_text(log.receipt(log.calls[number]))
    result = go(go_verify, log, folder, *receipts)
    assert result.stdout == f"entries {len(log.entries)}\nreceipts {len(receipts)}\n", result.stderr
    assert result.returncode == 0


def test_go_agrees_on_what_is_wrong(go_verify: Path, tmp_path: Path) -> None:
    log = sample_log(151)
    other = sample_log(151, keys="other")
    folder = log.publish().write(tmp_path / "log")
    assert go(go_verify, other, folder).returncode == 1
    receipt = tmp_path / "receipt"
    receipt.write_text(log.receipt(log.calls[5]).replace(f"index {log.calls[5].outcome}", "index 3"))
    assert go(go_verify, log, folder, receipt).returncode == 1
    bundle = folder / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"seed":42', b'"seed":43', 1))
    assert "does not hash" in go(go_verify, log, folder).stderr


def test_tessera_s_log_verifies_at_every_size(vectors: Path) -> None:
    folder = vectors / "tessera-log"
    policy = TrustPolicy.parse(f"log {TESSERA_KEY}\nquorum none\n")
    leaves = [leaf_hash(leaf.encode()) for leaf in TESSERA_LEAVES]
    checkpoints = {}
    for path in sorted(folder.glob("checkpoint*")):
        checkpoint = policy.check(SignedNote.parse(path.read_bytes())).checkpoint
        checkpoints[checkpoint.size] = checkpoint
        assert checkpoint.root == root_hash(leaves[: checkpoint.size])
        if checkpoint.size:
            log = TiledLog(Folder(folder), checkpoint.size)
            assert log.tile(0, 0) == leaves[: checkpoint.size]
            assert [entry.decode() for entry in log.bundle(0)] == TESSERA_LEAVES[: checkpoint.size]
    assert sorted(checkpoints) == list(range(16))
    for new in range(16):
        node = TiledLog(Folder(folder), new).node
        for old in range(new + 1):
            proof = consistency_proof(old, new, node)
            verify_consistency(old, new, checkpoints[old].root, checkpoints[new].root, proof)


def test_a_changed_tessera_checkpoint_does_not_verify(vectors: Path) -> None:
    signed = SignedNote.parse((vectors / "tessera-log" / "checkpoint.15").read_bytes())
    key = note.VerifierKey.parse(TESSERA_KEY)
    with pytest.raises(NotVerified):
        note.verify(signed.text.replace("15", "16"), signed.signatures[0], key)
