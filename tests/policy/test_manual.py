"""docs/policy.md: its worked example is a pack, and does what the page says."""

import json
import re
from pathlib import Path

import pytest

from command_line import command
from regalia.policy import packs
from serving import ROOT

PAGE = (ROOT / "docs" / "policy.md").read_text()


def written(folder: Path, name: str) -> str:
    """One of the page's packs, in a file."""
    (document,) = re.findall(rf"<!-- pack: {name}.yaml -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = folder / f"{name}.yaml"
    file.write_text(document)
    return str(file)


@pytest.fixture
def clinic(tmp_path: Path) -> str:
    """The page's first pack, in a file."""
    return written(tmp_path, "clinic")


@pytest.mark.parametrize("name", ["clinic", "permits"])
def test_the_worked_examples_test_as_the_page_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = rf"<!-- output: regalia policy test {name}.yaml -->\n```text\n(.*?)```"
    (shown,) = re.findall(output, PAGE, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "100")
    done = command("policy", "test", written(tmp_path, name), "--minimum", "1")
    assert done.code == 0
    assert [line.rstrip() for line in done.out.splitlines()] == shown.splitlines()


def test_the_worked_example_can_be_put_in_force_and_compared(clinic: str) -> None:
    assert command("policy", "check", clinic, "--json").json["policy"] == "clinic@1.0"
    done = command("policy", "diff", "ke", clinic, "--json")
    assert done.code == 1
    assert "rail whole-identities: added (hold on input)" in json.loads(done.out)


def test_the_page_names_every_built_in_pack() -> None:
    assert f"# {', '.join(packs.names())}\n" in PAGE
