"""The store: pulls are all or nothing and go on where they stopped, every flipped byte is found."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models_kit import flip, gguf
from regalia.engines import WeightsRefused
from regalia.models import ModelCorrupt, ModelError, ModelNotFound, ModelStore, Progress, SourceError
from regalia.models import local as local_module

WEIGHTS = gguf()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", clock=lambda: 1234)


@pytest.fixture
def source(tmp_path: Path) -> str:
    file = tmp_path / "Small-1B.Q4_1.gguf"
    file.write_bytes(WEIGHTS)
    return f"file:{file}"


def test_a_file_is_pulled_listed_verified_and_removed(store: ModelStore, source: str, tmp_path: Path) -> None:
    steps: list[Progress] = []
    manifest = store.pull(source, steps.append)
    assert (manifest.name, manifest.kind, manifest.licence) == ("small-1b", "gguf", "apache-2.0")
    assert manifest.source == "file:Small-1B.Q4_1.gguf", "a path of this machine is no part of the identity"
    assert manifest.files[0].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert manifest.origin["gguf_quantisation"] == "Q4_1"
    assert steps[-1].done == steps[-1].total == len(WEIGHTS)
    assert store.list() == [manifest]
    assert store.verify("small-1b") == manifest
    assert store.added("small-1b") == 1234
    weights = store.weights("small-1b")
    assert (weights.digest, weights.path.read_bytes()) == (manifest.digest, WEIGHTS)
    assert weights.path.stat().st_mode & 0o777 == 0o444
    digest = hashlib.sha256((tmp_path / "models/small-1b/manifest.json").read_bytes()).hexdigest()
    assert manifest.digest == f"sha256:{digest}"
    store.remove("small-1b")
    assert store.list() == []
    with pytest.raises(ModelNotFound):
        store.verify("small-1b")
    assert not any(path.is_dir() for path in (tmp_path / "models/.incoming").iterdir())


def test_the_same_again_changes_nothing_and_another_under_its_name_is_refused(
    store: ModelStore, source: str, tmp_path: Path
) -> None:
    first = store.pull(source)
    assert store.pull(source) == first
    other = tmp_path / "other.gguf"
    other.write_bytes(gguf(weights=b"other"))
    with pytest.raises(ModelError, match="remove it first"):
        store.pull(f"file:{other}", name="small-1b")
    assert store.pull(f"file:{other}", name="mine").name == "mine"
    assert store.verify("small-1b") == first


def test_a_folder_holds_one_model(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(SourceError, match="holds no"):
        store.pull(f"file:{folder}")
    for part in (1, 2):
        (folder / f"big-0000{part}-of-00002.gguf").write_bytes(gguf(weights=bytes([part])))
    manifest = store.pull(f"file:{folder}")
    assert [file.path for file in manifest.files] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert store.weights("big").path.name == "big-00001-of-00002.gguf"
    (folder / "another.gguf").write_bytes(gguf())
    with pytest.raises(SourceError, match="several models"):
        store.pull(f"file:{folder}")


def test_what_is_no_model_is_refused(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\3\4 a zip file")
    (tmp_path / "x.bin").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path in ("x.gguf", "x.bin", "absent.gguf", "pipe"):
        with pytest.raises(SourceError):
            store.pull(f"file:{tmp_path / path}")
    assert store.names() == []


def replace_by_link(path: Path) -> None:
    path.rename(path.parents[2] / "away")
    path.symlink_to(path.parents[2] / "away")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte": flip,
    "a missing byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a further byte": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "no file": lambda path: path.unlink(),
    "a link": replace_by_link,
    "a folder": replace_by_folder,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_the_file_is_named(store: ModelStore, source: str, damage: str) -> None:
    store.pull(source)
    path = store.weights("small-1b").path
    path.chmod(0o644)
    DAMAGE[damage](path)
    with pytest.raises(ModelCorrupt, match=r"Small-1B\.Q4_1\.gguf.*expected .*, got ") as found:
        store.verify("small-1b")
    assert found.value.file == path.name
    with pytest.raises(WeightsRefused, match=r"Small-1B\.Q4_1\.gguf"):
        store.weights("small-1b")


def test_a_further_file_and_a_changed_manifest_are_found(
    store: ModelStore, source: str, tmp_path: Path
) -> None:
    digest = store.pull(source).digest
    folder = tmp_path / "models" / "small-1b"
    (folder / "extra.gguf").write_bytes(b"")
    with pytest.raises(ModelCorrupt, match=r"extra\.gguf"):
        store.verify("small-1b")
    (folder / "extra.gguf").unlink()
    manifest = folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b"apache-2.0", b"apache-3.0"))
    store.verify("small-1b")
    with pytest.raises(WeightsRefused, match=digest):
        store.weights("small-1b", digest)
    manifest.write_bytes(manifest.read_bytes().replace(b'"small-1b"', b'"other"'))
    with pytest.raises(ModelError, match="other"):
        store.get("small-1b")
    manifest.write_bytes(b"{")
    with pytest.raises(WeightsRefused, match="manifest is not valid"):
        store.weights("small-1b")


def test_an_interrupted_copy_leaves_no_model_and_goes_on_where_it_stopped(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "_CHUNK", 1000)
    file = tmp_path / "long.gguf"
    file.write_bytes(gguf(weights=os.urandom(50_000)))

    def stop_half_way(progress: Progress) -> None:
        if progress.done > 25_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(f"file:{file}", stop_half_way)
    assert store.names() == []
    steps: list[Progress] = []
    store.pull(f"file:{file}", steps.append)
    assert steps[0].done > 25_000, "the copy began from the start"
    store.verify("long")
    assert store.weights("long").path.read_bytes() == file.read_bytes()


def test_a_partial_copy_of_something_else_is_not_gone_on_with(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "_CHUNK", 1000)
    file = tmp_path / "long.gguf"
    file.write_bytes(gguf(weights=os.urandom(50_000)))

    def stop_half_way(progress: Progress) -> None:
        if progress.done > 25_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(f"file:{file}", stop_half_way)
    file.write_bytes(gguf(weights=os.urandom(20_000)))
    store.pull(f"file:{file}")
    store.verify("long")
    assert store.weights("long").path.read_bytes() == file.read_bytes()


def test_a_killed_pull_leaves_no_model_and_the_next_one_succeeds(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "long.gguf"
    file.write_bytes(gguf(weights=os.urandom(64 * 1024 * 1024)))
    command = [
        sys.executable,
        "-c",
        "from regalia.cli import main; main()",
        "models",
        "pull",
        f"file:{file}",
        "--data-dir",
        str(tmp_path),
    ]
    pulling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    incoming = tmp_path / "models" / ".incoming"
    deadline = time.monotonic() + 200
    while not list(incoming.glob("*/files/long.gguf")) and pulling.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    pulling.send_signal(signal.SIGKILL)
    pulling.wait()
    if not store.names():  # else it was faster than the signal
        assert list(incoming.glob("*/files/long.gguf"))
    store.pull(f"file:{file}")
    store.verify("long")
    assert not list(incoming.glob("*/"))


def test_two_pulls_of_one_source_do_not_mix(store: ModelStore, source: str) -> None:
    def pull_again(_: Progress) -> None:
        with pytest.raises(ModelError, match="another pull"):
            store.pull(source)

    store.pull(source, pull_again)


def test_when_added_stays_outside_of_the_identity(source: str, tmp_path: Path) -> None:
    early = ModelStore(tmp_path / "early", clock=lambda: 1).pull(source)
    late = ModelStore(tmp_path / "late", clock=lambda: 2).pull(source)
    assert early.digest == late.digest
    assert json.loads((tmp_path / "late/small-1b/added.json").read_bytes()) == {"added": 2}
