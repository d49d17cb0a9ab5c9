"""docs/policy.md: its worked example is a pack, and does what the page says."""

import json
import re
from pathlib import Path

import pytest

from regalia.policy import packs
from serving import ROOT, regalia

PAGE = (ROOT / "docs" / "policy.md").read_text()


@pytest.fixture
def clinic(tmp_path: Path) -> str:
    """The page's pack, in a file."""
    (document,) = re.findall(r"<!-- pack: clinic.yaml -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "clinic.yaml"
    file.write_text(document)
    return str(file)


def test_the_worked_example_tests_as_the_page_shows(clinic: str) -> None:
    (shown,) = re.findall(r"<!-- output: .*? -->\n```text\n(.*?)```", PAGE, re.DOTALL)
    done = regalia("policy", "test", clinic, "--minimum", "1", env={"COLUMNS": "100"})
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines()


def test_the_worked_example_can_be_put_in_force_and_compared(clinic: str) -> None:
    checked = json.loads(regalia("policy", "check", clinic, "--json").stdout)
    assert checked["policy"] == "clinic@1.0"
    done = regalia("policy", "diff", "ke", clinic, "--json", check=False)
    assert done.returncode == 1
    assert "rail whole-identities: added (hold on input)" in json.loads(done.stdout)


def test_the_page_names_every_built_in_pack() -> None:
    assert f"# {', '.join(packs.names())}\n" in PAGE
