"""`regalia init` that is killed half-way: the same command finishes it, with keys that agree."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from file_operations import OPERATIONS, Killed
from regalia.identity import hash_key
from regalia.instance import Created, InstanceError, create, creation, database_of, identity_of
from regalia.instance.directory import secret_of
from regalia.ledger import KeyFiles
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.storage import Database
from regalia.storage.schema import api_keys
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.source import Folder, TiledLog
from verify.paper_log import rooted_log

STEPS = [
    "write_private",
    "write_missing_pair",
    "write_past",
    "create_vault",
    "upgrade",
    "_add_first_key",
    "sync_folder",
]


def kill_at(monkeypatch: pytest.MonkeyPatch, step: str, call: int, *, after: bool) -> None:
    """Die at the nth time that a step is taken: before it, or when it is done."""
    honest: Callable[..., object] = getattr(creation, step)
    left = [call]

    def taken(*arguments: object, **named: object) -> object:
        left[0] -= 1
        if left[0] == 0 and not after:
            raise Killed
        result = honest(*arguments, **named)
        if left[0] == 0:
            raise Killed
        return result

    monkeypatch.setattr(creation, step, taken)


def works(data_dir: Path, created: Created) -> None:
    """The log opens under the keys, and the key that was printed is the only one."""
    identity = identity_of(data_dir)
    assert identity.origin == created.origin
    database = database_of(data_dir)
    with database.read() as connection:
        (row,) = connection.execute(api_keys.select()).all()
    assert bytes(row.hash) == hash_key(secret_of(data_dir), created.api_key)
    url = database.engine.url.render_as_string(hide_password=False)
    database.close()
    keys = KeyFiles.under(data_dir / "keys")
    log = Log.open(Where(data_dir, url, "test", identity.origin, keys))
    log.publish()
    assert log.publish_failure is None
    log.close()
    assert not list(data_dir.rglob("*.new"))
    assert not (data_dir / "init.json").exists()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_what_was_killed_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    data_dir = tmp_path / "d"
    with monkeypatch.context() as patch:
        kill_at(patch, step, 1, after=after)
        with pytest.raises(Killed):
            create(data_dir, "log.example/one")
    if step == "sync_folder":  # the very last one: the instance is there
        with pytest.raises(InstanceError, match="already holds an instance"):
            create(data_dir, "log.example/one")
        return
    if (data_dir / "init.json").exists():
        with pytest.raises(InstanceError, match=r"log.example/one .* was interrupted here"):
            create(data_dir, "log.example/two")
    works(data_dir, create(data_dir, "log.example/one"))


def test_a_key_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the files of a pair, and while a file is written."""
    for number, step in enumerate(("fsync", "link")):
        for call in (1, 2, 3, 4):
            data_dir = tmp_path / f"{number}-{call}"
            with monkeypatch.context() as patch:
                honest, left = getattr(os, step), [call]

                def taken(
                    *arguments: object, left: list[int] = left, honest: Callable[..., object] = honest
                ) -> object:
                    left[0] -= 1
                    if left[0] == 0:
                        raise Killed
                    return honest(*arguments)

                patch.setattr(os, step, taken)
                with pytest.raises(Killed):
                    create(data_dir, None)
            create(data_dir, None)
            identity_of(data_dir)


def test_killed_at_any_file_operation_it_is_finished_and_nothing_is_left_over(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade(database: Database) -> None:  # as the real one: an empty file, then all of it at once
        assert database.file is not None
        if database.file.exists():
            honest(database)
        else:
            database.file.touch()
            Path(shutil.copy(migrated, tmp_path)).rename(database.file)

    honest: Callable[[Database], None] = getattr(creation, "upgrade")  # noqa: B009 - it is not its own
    monkeypatch.setattr(creation, "upgrade", upgrade)
    for n in range(1, 1000):
        data_dir = tmp_path / "d"
        try:
            with OPERATIONS.killed_at(n, data_dir):
                create(data_dir, "log.example/one")
        except Killed:
            if not (data_dir / "instance.json").exists():
                works(data_dir, create(data_dir, "log.example/one"))
        else:
            break
        shutil.rmtree(data_dir)
    assert 50 < n < 1000


def test_a_damaged_instance_is_not_taken_for_an_interrupted_one(tmp_path: Path) -> None:
    created = create(tmp_path / "d", None)
    (tmp_path / "d" / "instance.json").unlink()
    with pytest.raises(InstanceError, match="bring that back from a backup"):
        create(tmp_path / "d", created.origin)


def test_the_first_record_names_the_root_and_the_log_that_is_continued(tmp_path: Path) -> None:
    old = rooted_log()
    created = create(tmp_path / "d", "log.example/next", continues=old.signed())
    works(tmp_path / "d", created)
    folder = Folder(tmp_path / "d" / "log")
    note = SignedNote.parse(folder.read("checkpoint", 1 << 16))
    opened = json.loads(TiledLog(folder, Checkpoint.parse(note.text).size).bundle(0)[0])
    end = old.checkpoint()
    assert opened["previous"] == {"origin": end.origin, "size": end.size, "root": end.root.hex()}
    assert [key.split("+")[0] for key in opened["root"]] == ["log.example/next/root"] * 2


@pytest.mark.parametrize(
    ("origin", "note"), [(None, "nonsense"), (rooted_log().origin, rooted_log().signed())]
)
def test_what_can_not_be_continued_is_refused(tmp_path: Path, origin: str | None, note: str) -> None:
    with pytest.raises(InstanceError):
        create(tmp_path / "d", origin, continues=note)
    assert not (tmp_path / "d").exists()


@pytest.mark.needs("postgres")
def test_what_was_killed_on_postgresql_is_finished(
    postgresql: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, url = tmp_path / "d", postgresql()
    with monkeypatch.context() as patch:
        kill_at(patch, "_add_first_key", 1, after=True)
        with pytest.raises(Killed):
            create(data_dir, None, url)
    with pytest.raises(InstanceError, match="another instance's"):
        create(tmp_path / "another", None, url)
    works(data_dir, create(data_dir, None, url))
    with pytest.raises(InstanceError, match="another instance's"):
        create(tmp_path / "another", None, url)
