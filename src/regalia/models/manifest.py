"""A model's manifest: what was registered. Its canonical bytes (RFC 8785) hash to the model's identity.

When a model was added stays outside of the manifest, so that the same weights from the same source
have the same digest everywhere.
"""

import hashlib
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec

from regalia.models.errors import ModelError
from regalia_verify.errors import FormatError
from regalia_verify.record import canonical, parse_canonical

MAX_MANIFEST = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Kind = Literal["gguf", "embedding"]


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of weights; `path` is relative to the model's folder, `size` in bytes."""

    path: str
    size: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered model. `origin` holds what its source and its own metadata say about it."""

    name: str
    kind: Kind
    source: str
    licence: str
    files: Annotated[tuple[ModelFile, ...], msgspec.Meta(min_length=1, max_length=4096)]
    origin: dict[str, str]
    v: Literal[1] = 1

    def canonical(self) -> bytes:
        """The bytes that are stored and hashed."""
        return canonical(msgspec.json.decode(msgspec.json.encode(self)))

    @property
    def digest(self) -> str:
        """The model's identity, "sha256:<hex>"."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of weights."""
        return sum(file.size for file in self.files)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest's bytes. Raises ModelError where they are not canonical, or name unsafe paths."""
    if len(data) > MAX_MANIFEST:
        raise ModelError(f"the manifest is larger than {MAX_MANIFEST} bytes")
    try:
        manifest = msgspec.convert(parse_canonical(data), Manifest)
    except (FormatError, msgspec.ValidationError) as error:
        raise ModelError(f"the manifest is not valid: {error}") from error
    check_name(manifest.name)
    paths = [check_path(file.path) for file in manifest.files]
    if len(set(paths)) != len(paths):
        raise ModelError("the manifest names a file twice")
    return manifest


def check_name(name: str) -> str:
    """A model's name, which is also its folder's. Raises ModelError."""
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} can't be a model's name: use up to 64 letters, digits, dots, dashes and underscores"
        )
    return name


def check_path(path: str) -> str:
    """A file's path inside its model's folder: a plain file name. Raises ModelError."""
    if PurePosixPath(path).name != path or path in ("", ".", "..") or "\\" in path or not path.isprintable():
        raise ModelError(f"{path!r} can't be a file of a model: only plain file names are taken")
    return path
