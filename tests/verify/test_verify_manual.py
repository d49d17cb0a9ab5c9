"""docs/verifying.md and docs/formats.md: the commands run, the reasons are all there, the sample is real."""

import re
import shlex
from pathlib import Path

import pytest

from regalia_verify.cli import main
from regalia_verify.record import ADMIN_KIND, FIELDS, FORMS, commit, parse
from regalia_verify.source import parse_bundle
from verify.make_vectors import write

ROOT = Path(__file__).resolve().parents[2]
MANUAL = (ROOT / "docs" / "verifying.md").read_text()
FORMATS = (ROOT / "docs" / "formats.md").read_text()
SAMPLE = ROOT / "tests" / "verify" / "vectors"
BLOCKS = re.findall(r"```sh( fails)?\n(.*?)```", MANUAL, re.DOTALL)
COMMANDS = [
    (line, bool(fails)) for fails, block in BLOCKS for line in block.splitlines() if line[:3] != "cd "
]


@pytest.mark.parametrize(("command", "fails"), COMMANDS)
def test_the_manual_s_commands_work_as_pasted(
    command: str, fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SAMPLE)
    program, *arguments = shlex.split(command)
    assert program == "regalia-verify"
    assert main(arguments) == (1 if fails else 0), capsys.readouterr()
    if fails:
        assert capsys.readouterr().err.strip() in MANUAL


def test_the_manual_s_commands_were_found() -> None:
    assert len(COMMANDS) >= 7


def test_the_manual_explains_every_reason() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src" / "regalia_verify").glob("*.py"))
    reasons = set(re.findall(r'(?:NotVerified|_fault)\(\s*"([a-z_]+)"', sources))
    reasons |= set(re.findall(r'_check_root\([^"]+"([a-z_]+)"\)', sources))
    assert len(reasons) >= 20
    missing = {reason for reason in reasons if f"`{reason}`" not in MANUAL}
    assert not missing


def test_the_formats_page_names_every_kind_and_field() -> None:
    for name in (*FIELDS, *FORMS):
        assert f"`{name}`" in FORMATS or f"`{name}`," in FORMATS, name
    assert ADMIN_KIND.fullmatch("admin.key_created")


def test_the_formats_page_s_commitment() -> None:
    assert commit("request", bytes(range(32)), b"hello") in FORMATS


def test_the_sample_is_what_the_writer_writes_but_for_the_random_signatures(tmp_path: Path) -> None:
    write(tmp_path)
    files = [path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file()]
    assert len(files) == 9
    for name in files:
        committed, fresh = (SAMPLE / name).read_bytes(), (tmp_path / name).read_bytes()
        if b"\n\xe2\x80\x94 " in committed:  # ML-DSA-44 signs with fresh randomness: compare what precedes it
            committed, fresh = (text.rpartition(b"\n\xe2\x80\x94 ")[0] for text in (committed, fresh))
        assert committed == fresh, name


def test_the_sample_s_entries_are_records() -> None:
    for entry in parse_bundle((SAMPLE / "log" / "tile" / "entries" / "000.p" / "16").read_bytes()):
        parse(entry)
