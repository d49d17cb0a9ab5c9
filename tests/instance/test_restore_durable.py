"""What is restored is durable before it is an instance, and what is backed up before it is a backup."""

import os
from pathlib import Path

import pytest

from regalia.instance import create
from regalia.instance.backup import back_up, restore
from regalia.instance.directory import database_of
from regalia.ledger import KeyFiles
from regalia.ledger.log import Log
from regalia.ledger.wire import Where


def files(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file() and path.suffix != ".new"}


def test_everything_is_durable_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = tmp_path / "d"
    created = create(data_dir, None)
    url = database_of(data_dir).engine.url.render_as_string()
    log = Log.open(Where(data_dir, url, "test", created.origin, KeyFiles.under(data_dir / "keys")))
    log.publish()
    log.close()
    synced: set[int] = set()
    named: list[str] = []
    fsync, link = os.fsync, os.link

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def name(source: Path, target: Path) -> None:
        if target.name in ("backup.json", "instance.json"):
            assert files(target.parent) <= synced, "something is not durable yet"
            named.append(target.name)
        link(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", name)
    back_up(data_dir, tmp_path / "b")
    restore(tmp_path / "b", tmp_path / "r")
    assert named == ["backup.json", "instance.json"]
