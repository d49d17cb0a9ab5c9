"""`file:PATH`: copying weights that are on this machine. An interrupted copy goes on where it stopped."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from regalia.models.errors import SourceError
from regalia.models.fetched import Fetched, OnProgress, Progress, gguf_origin, one_model
from regalia.models.manifest import ModelFile, check_path
from regalia.models.source import FileSource, name_from

_CHUNK = 4 * 1024 * 1024


def fetch_file(source: FileSource, folder: Path, on_progress: OnProgress) -> Fetched:
    """Copy a .gguf file, or a folder's, into `folder`. Raises SourceError."""
    path = source.path
    try:
        if path.is_dir():
            names = one_model([entry.name for entry in path.iterdir() if entry.suffix == ".gguf"], str(path))
            paths = [path / name for name in names]
        elif path.suffix == ".gguf":
            paths = [path]
        else:
            raise SourceError(f"{path} is neither a .gguf file nor a folder of them")
        files = copy_files(paths, folder, on_progress)
    except OSError as error:
        raise SourceError(f"{error.filename or path} can't be copied: {error.strerror}") from error
    origin = gguf_origin(folder, files)
    return Fetched(
        kind="gguf",
        name=name_from(files[0].path),
        source=f"file:{path.name}",
        licence=origin.get("gguf_licence", "unknown"),
        files=files,
        origin=origin,
    )


def copy_files(paths: Iterable[Path], folder: Path, on_progress: OnProgress) -> tuple[ModelFile, ...]:
    """Copy files into `folder` under their own names."""
    return tuple(_copy(path, folder / check_path(path.name), on_progress) for path in paths)


def _copy(source: Path, target: Path, on_progress: OnProgress) -> ModelFile:
    """Copy one file; what `target` holds already is kept where it is the beginning of `source`."""
    with source.open("rb") as reading:
        status = os.fstat(reading.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{source} is not a regular file")
        if status.st_size > shutil.disk_usage(target.parent).free:
            raise SourceError(f"no room for {source.name}: {status.st_size} bytes are needed")
        digest = hashlib.sha256()
        with target.open("r+b" if target.exists() else "w+b") as writing:
            done = _common_beginning(reading, writing, digest)
            reading.seek(done)
            writing.seek(done)
            writing.truncate()
            while chunk := reading.read(_CHUNK):
                writing.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                on_progress(Progress("copying", source.name, done, status.st_size))
        if done != status.st_size:
            raise SourceError(
                f"{source} changed while it was copied: it had {status.st_size} bytes, now {done}"
            )
    return ModelFile(target.name, done, digest.hexdigest())


def _common_beginning(reading: BinaryIO, writing: BinaryIO, digest: "hashlib._Hash") -> int:
    """How many whole chunks the two files share from their beginning; those are hashed."""
    same = 0
    while True:
        ours = writing.read(_CHUNK)
        if not ours:
            return same
        theirs = reading.read(len(ours))
        if theirs != ours:
            return same
        digest.update(ours)
        same += len(ours)
