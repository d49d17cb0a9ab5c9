"""`regalia models` in a terminal: what it prints, and how it ends."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from models_kit import gguf
from regalia.cli.models import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_pull_list_verify_remove(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(gguf())
    data = ("--data-dir", str(tmp_path / "d"))
    assert "regalia models pull" in run("list", *data).stdout
    pulled = run("pull", f"file:{file}", "--name", "mine", *data)
    assert pulled.exit_code == 0
    assert pulled.stdout.startswith("mine is registered: sha256:")
    assert "copying small.gguf" in pulled.stderr
    listed = json.loads(run("list", "--json", *data).stdout)
    assert [(model["name"], model["source"]) for model in listed] == [("mine", "file:small.gguf")]
    assert listed[0]["added"] > 1_600_000_000_000
    assert "mine" in run("list", *data).stdout
    assert run("verify", *data).stdout.startswith("mine: as registered, sha256:")
    weights = tmp_path / "d/models/mine/small.gguf"
    weights.chmod(0o644)
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    wrong = run("verify", "mine", *data)
    assert wrong.exit_code == 1
    assert "NOT as registered: model mine, file small.gguf: expected sha256 " in wrong.stderr
    assert json.loads(run("verify", "--json", *data).stdout)[0]["verified"] is False
    assert run("remove", "mine", *data).stdout == "mine is removed\n"
    assert json.loads(run("list", "--json", *data).stdout) == []


def test_one_broken_manifest_does_not_hide_the_others(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(gguf())
    data = ("--data-dir", str(tmp_path / "d"))
    for name in ("a", "b"):
        run("pull", f"file:{file}", "--name", name, *data)
    manifest = tmp_path / "d/models/a/manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    rows = json.loads(run("list", "--json", *data).stdout)
    assert [("error" in row, row["name"]) for row in rows] == [(True, "a"), (False, "b")]
    assert "broken" in run("list", *data).stdout


def test_every_command_shows_an_example() -> None:
    for command in ("pull", "list", "verify", "remove"):
        assert f"regalia models {command}" in run(command, "--help").stdout
