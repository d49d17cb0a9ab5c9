"""docs/policy.md: its worked example is a pack, and does what the page says."""

import json
import re
from pathlib import Path

import pytest

from command_line import command
from regalia.policy import packs
from serving import ROOT

PAGE = (ROOT / "docs" / "policy.md").read_text()


@pytest.fixture
def clinic(tmp_path: Path) -> str:
    """The page's pack, in a file."""
    (document,) = re.findall(r"<!-- pack: clinic.yaml -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "clinic.yaml"
    file.write_text(document)
    return str(file)


def test_the_worked_example_tests_as_the_page_shows(clinic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"<!-- output: .*? -->\n```text\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "100")
    done = command("policy", "test", clinic, "--minimum", "1")
    assert done.code == 0
    assert [line.rstrip() for line in done.out.splitlines()] == shown.splitlines()


def test_the_worked_example_can_be_put_in_force_and_compared(clinic: str) -> None:
    assert command("policy", "check", clinic, "--json").json["policy"] == "clinic@1.0"
    done = command("policy", "diff", "ke", clinic, "--json")
    assert done.code == 1
    assert "rail whole-identities: added (hold on input)" in json.loads(done.out)


def test_the_page_names_every_built_in_pack() -> None:
    assert f"# {', '.join(packs.names())}\n" in PAGE
