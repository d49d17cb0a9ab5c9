"""Go's transparency-log code agrees with our cosignatures and consistency proofs."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from regalia.notes import encode_note
from regalia_verify.note import SignedNote
from witness.witnessing import a_log, a_witness

SOURCE = Path(__file__).parent / "interop" / "cosigned.go"


@pytest.fixture(scope="module")
def cosigned(needs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built from Debian's packages without a download."""
    go, sources = needs("go"), needs("go-x-mod")
    folder = tmp_path_factory.mktemp("go")
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(sources).removesuffix("/src/golang.org/x/mod"),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    program = folder / "cosigned"
    subprocess.run([go, "build", "-o", program, SOURCE], check=True, env=environment, timeout=240)
    return program


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_go_verifies_the_ed25519_cosignatures_of_two_witnesses(cosigned: Path, tmp_path: Path) -> None:
    log = a_log(23)
    witnesses = [a_witness(tmp_path / n, log, name=f"witness.example/{n}") for n in ("1", "2")]
    note = log.note()
    for witness in witnesses:
        note = SignedNote(note.text, (*note.signatures, *witness.cosign(log.request(0))))
    file = tmp_path / "note"
    file.write_text(encode_note(note))
    keys = [witness.keys[0].encode() for witness in witnesses]
    done = run(cosigned, "note", file, log.ed25519.key.encode(), *keys)
    assert done.stdout.split() == [log.origin, "witness.example/1", "witness.example/2"], done.stderr
    file.write_text(encode_note(note).replace("\n23\n", "\n24\n"))
    assert run(cosigned, "note", file, log.ed25519.key.encode(), *keys).returncode == 1


def test_go_accepts_our_consistency_proofs_and_no_others(cosigned: Path, tmp_path: Path) -> None:
    log = a_log(70)
    old, request = tmp_path / "old", tmp_path / "request"
    for first, second in ((1, 1), (1, 2), (6, 8), (8, 70), (64, 70), (69, 70), (33, 64)):
        old.write_text(log.signed(first))
        request.write_bytes(log.request(first, second).encode())
        done = run(cosigned, "growth", old, request)
        assert done.returncode == 0, (first, second, done.stderr)
    old.write_text(log.fork(30, 3).signed())
    assert run(cosigned, "growth", old, request).returncode == 1
