"""`regalia witness` from the shell, and a witness without a network, end to end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regalia.cli.witness import app
from regalia.errors import RegaliaError
from regalia.witness.witness import Witness
from regalia_verify.note import ED25519_COSIGNATURE, MLDSA44_COSIGNATURE, SignedNote, VerifierKey
from regalia_verify.policy import TrustPolicy
from witness.witnessing import Growing, a_log, trust_text

NAME = "witness.example/1"


def shell(*words: object, stdin: str = "") -> str:
    """Run a command; its standard output. An expected error is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    if isinstance(result.exception, RegaliaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def log(tmp_path: Path) -> Growing:
    log = a_log(12)
    log.publish().write(tmp_path / "d" / "log")
    (tmp_path / "policy").write_text(log.policy_text())
    return log


@pytest.fixture
def folder(tmp_path: Path, log: Growing) -> Path:
    shell("init", "--data-dir", tmp_path / "w", "--name", NAME)
    assert log.origin in shell("add-log", tmp_path / "policy", "--data-dir", tmp_path / "w")
    return tmp_path / "w"


def test_init_prints_both_keys_and_keeps_them_private(tmp_path: Path) -> None:
    told = json.loads(shell("init", "--data-dir", tmp_path / "w", "--name", NAME, "--json"))
    keys = [VerifierKey.parse(vkey) for vkey in told["vkeys"]]
    assert [(key.name, key.type) for key in keys] == [
        (NAME, ED25519_COSIGNATURE),
        (NAME, MLDSA44_COSIGNATURE),
    ]
    files = [tmp_path / "w" / "keys" / f"witness-{kind}.pem" for kind in ("ed25519", "mldsa44")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700
    with pytest.raises(RegaliaError, match="already holds a witness"):
        shell("init", "--data-dir", tmp_path / "w", "--name", "other")
    for name in ("", "two words", "a+b"):
        with pytest.raises(RegaliaError, match="name"):
            shell("init", "--data-dir", tmp_path / "w3", "--name", name)


def test_the_printed_lines_make_a_trust_policy(tmp_path: Path, log: Growing) -> None:
    shown = shell("init", "--data-dir", tmp_path / "w", "--name", NAME)
    lines = [line for line in shown.splitlines() if line.startswith(("witness ", "group "))]
    assert "\n".join(lines) in shell("status", "--data-dir", tmp_path / "w")
    text = log.policy_text().replace("quorum", "#") + "\n".join([*lines, f"quorum {NAME}", ""])
    policy = TrustPolicy.parse(text)
    witness = Witness.open(tmp_path / "w")
    witness.trust(text)
    note = log.note()
    assert policy.check(SignedNote(note.text, (*note.signatures, *witness.cosign(log.request(0))))).witnessed


def test_commands_without_a_witness_say_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RegaliaError, match="regalia witness init"):
        shell("status", "--data-dir", tmp_path)


def test_a_policy_that_is_none_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "bad").write_text("log nothing\n")
    with pytest.raises(RegaliaError, match="policy line 1"):
        shell("add-log", tmp_path / "bad", "--data-dir", folder)
    with pytest.raises(RegaliaError, match="No such file"):
        shell("add-log", tmp_path / "missing", "--data-dir", folder)


def test_a_witness_without_a_network_signs_what_is_carried(
    tmp_path: Path, folder: Path, log: Growing
) -> None:
    server, request = tmp_path / "d", tmp_path / "request"
    trust = tmp_path / "trust"
    trust.write_text(trust_text(log, [Witness.open(folder)]))
    carry = ["attach", "--witness", NAME, "--policy", trust, "--request", request, "--data-dir", server]
    # The first time, the checkpoint alone will do.
    request.write_bytes((server / "log" / "checkpoint").read_bytes())
    lines = shell("sign", "--data-dir", folder, stdin=request.read_text())
    assert "has cosigned 12 entries; the trust policy is satisfied" in shell(*carry, stdin=lines)
    # Later, the server knows what this witness has seen, and proves the growth.
    log.grow(30).publish().write(server / "log")
    request.write_text(shell("request", "--witness", NAME, "--data-dir", server))
    assert request.read_text().startswith("old 12\n")
    lines = shell("sign", "--data-dir", folder, stdin=request.read_text())
    cosigned = SignedNote.parse(request.read_text().partition("\n\n")[2] + lines)
    assert TrustPolicy.parse(trust.read_text()).check(cosigned).checkpoint == log.checkpoint()
    assert "has cosigned 42 entries" in shell(*carry, stdin=lines)
    # A lost reply is asked for again.
    again = shell("request", "--witness", NAME, "--data-dir", server)
    assert again.startswith("old 42\n\n")
    assert "—" in shell("sign", "--data-dir", folder, stdin=again)


def test_carried_files_that_do_not_fit_are_refused_in_a_sentence(
    tmp_path: Path, folder: Path, log: Growing
) -> None:
    server, request, trust = tmp_path / "d", tmp_path / "request", tmp_path / "trust"
    checkpoint = (server / "log" / "checkpoint").read_text()
    shell("sign", "--data-dir", folder, stdin=checkpoint)
    with pytest.raises(RegaliaError, match=r"not_latest.*--old 12"):
        shell("sign", "--data-dir", folder, stdin=checkpoint)
    with pytest.raises(RegaliaError, match="malformed"):
        shell("sign", "--data-dir", folder, stdin="hello")
    for old in (13, -1):
        with pytest.raises(RegaliaError, match="the log here has 12"):
            shell("request", "--witness", NAME, "--data-dir", server, "--old", old)
    trust.write_text(trust_text(log, [Witness.open(folder)]))
    request.write_text(checkpoint)
    carry = ["attach", "--policy", trust, "--request", request, "--data-dir", server, "--witness"]
    with pytest.raises(RegaliaError, match="no witness whose keys are named nobody"):
        shell(*carry, "nobody", stdin="")
    other = a_log(3).signed().partition("\n\n")[2]
    with pytest.raises(RegaliaError, match="no key of"):
        shell(*carry, NAME, stdin=other)
    assert not (server / "witnesses").exists()


def test_status_and_evidence_tell_what_was_seen(tmp_path: Path, folder: Path, log: Growing) -> None:
    before = json.loads(shell("status", "--data-dir", folder, "--json"))
    assert before["logs"][0] | {"keys": []} == {
        "origin": log.origin, "keys": [], "size": 0, "root": None, "time": None,
    }  # fmt: skip
    assert "nothing cosigned yet" in shell("status", "--data-dir", folder)
    shell("sign", "--data-dir", folder, stdin=log.signed())
    assert shell("evidence", "--data-dir", folder) == "0 cases\n"
    with pytest.raises(RegaliaError, match="not_latest"):
        shell("sign", "--data-dir", folder, stdin=log.fork(5, 7).signed())
    after = json.loads(shell("status", "--data-dir", folder, "--json"))
    assert (after["evidence"], after["logs"][0]["size"]) == (1, 12)
    assert after["logs"][0]["root"] == log.checkpoint().root.hex()
    assert "12 entries, root" in shell("status", "--data-dir", folder)
    [case] = json.loads(shell("evidence", "--data-dir", folder, "--json"))
    assert (case["kind"], case["origin"], case["submitted_size"]) == ("equivocation", log.origin, 12)
    assert sorted(file.name for file in Path(case["path"]).iterdir()) == [
        "case.json", "cosigned.note", "request", "submitted.note",
    ]  # fmt: skip
    assert "equivocation: " in shell("evidence", "--data-dir", folder)
