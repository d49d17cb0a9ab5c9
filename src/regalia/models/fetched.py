"""What fetching a source yields, whatever the source, and how it reports on the way."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from regalia.models.errors import SourceError
from regalia.models.gguf import read_metadata
from regalia.models.manifest import Kind, ModelFile


class Progress(msgspec.Struct, frozen=True):
    """How far a step is, in bytes; `total` 0 where it is not known."""

    step: str
    what: str
    done: int
    total: int = 0


OnProgress = Callable[[Progress], None]


class Fetched(msgspec.Struct, frozen=True):
    """Weights that lie complete in a folder, and what is known about them."""

    kind: Kind
    name: str
    source: str
    licence: str
    files: tuple[ModelFile, ...]
    origin: dict[str, str]


def gguf_origin(folder: Path, files: tuple[ModelFile, ...]) -> dict[str, str]:
    """What the first of a model's GGUF files says of itself; every file must be one. Raises SourceError."""
    heads = []
    for file in files:
        with (folder / file.path).open("rb") as opened:
            try:
                heads.append(read_metadata(opened))
            except SourceError as error:
                raise SourceError(f"{file.path}: {error}") from error
    return {f"gguf_{key}": value for key, value in heads[0].items()}


def one_model(names: list[str], where: str) -> list[str]:
    """The files of one model, sorted: a single file, or every part of a split one. Raises SourceError."""
    names = sorted(names)
    if not names:
        raise SourceError(f"{where} holds no *.gguf file")
    parts = {name.rpartition("-of-")[2] for name in names} if "-of-" in names[0] else {""}
    if len(names) > 1 and (len(parts) > 1 or parts != {f"{len(names):05d}.gguf"}):
        listed = ", ".join(names[:8])
        raise SourceError(f"{where} holds several models ({listed}); name one file")
    return names
