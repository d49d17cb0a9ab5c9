"""Old files of the log moved to an archive folder, each leaving a link to where it went.

Only entry bundles and tiles of level 0 go, full ones, below the declared minimum index (c2sp.org/tlog-tiles,
"Pruning"): the levels above, a 256th of it, stay, and with them every proof about the rest. While the archive
is attached, whoever reads the log finds everything in its place; without it the old entries are missing.

A file is compared with its place in the tree, copied, made durable, and then replaced by the link in one
step; so whatever is interrupted is finished by doing it again, and nothing is ever in neither place.
"""

import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from regalia.errors import RegaliaError
from regalia.ledger.folder import LogFolder
from regalia_verify.errors import FormatError
from regalia_verify.merkle import leaf_hash, root_hash
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.source import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    entries_path,
    parse_bundle,
    tile_path,
    tile_width,
)

GROUP = 64
"""How many bundles are copied between two rounds of links: so often directories are made durable."""


class ArchiveError(RegaliaError):
    """A file can't be archived; it is where it was."""


def archive(folder: LogFolder, minimum: int, to: Path, needed: Collection[int] = ()) -> int:
    """Move what belongs to the entries below `minimum`, a multiple of 256, to `to`; how many files.

    The first bundle stays, for the log's opening, and so do entries that are `needed`: receipts carry the
    rotations of the log's keys. Whoever reads what remains can follow the keys from root to present.
    Files that went to another archive before are linked to this one if they are in it. Raises ArchiveError.
    """
    root, target = folder.root, to.resolve()
    size = _published(folder)
    if target.is_relative_to(root.resolve()):
        raise ArchiveError(f"{to} is inside the log's own folder: choose another one")
    staying = {0, *(index // TILE_WIDTH for index in needed)}
    moved = 0
    for first in range(0, minimum // TILE_WIDTH, GROUP):
        group = [n for n in range(first, min(first + GROUP, minimum // TILE_WIDTH)) if n not in staying]
        waiting = [name for n in group for name in _names(n) if not _is_there(root / name, target / name)]
        for n in group:
            if any(name in waiting and not (root / name).is_symlink() for name in _names(n)):
                _check(folder, n, size)
        directories: set[Path] = set()
        for name in waiting:
            _copy(root / name, target / name, directories)
        _sync(directories)
        for name in waiting:
            _link(root / name, target / name)
        _sync({(root / name).parent for name in waiting})
        moved += len(waiting)
    return moved


def is_away(path: Path) -> bool:
    """Whether a file of the log is in an archive that is not attached."""
    return path.is_symlink() and not path.exists()


def _names(n: int) -> Iterator[str]:
    yield entries_path(n)
    yield tile_path(0, n)


def _is_there(path: Path, archived: Path) -> bool:
    """Whether the link is made already."""
    if not path.is_symlink():
        return False
    if path.readlink() == archived:
        return True
    if not archived.exists() and not path.exists():
        raise ArchiveError(f"{path.name} is in the archive {path.readlink()}, which is not attached")
    return False


def _published(folder: LogFolder) -> int:
    note = folder.read_checkpoint()
    if note is None:
        raise ArchiveError(f"{folder.root} has no checkpoint: nothing is published yet")
    return Checkpoint.parse(SignedNote.parse(note).text).size


def _check(folder: LogFolder, n: int, size: int) -> None:
    """Compare a bundle and its tile with the tree above, so that no damage is put away."""
    try:
        data = (folder.root / entries_path(n)).read_bytes()
        hashes = folder.read_tile(0, n, TILE_WIDTH)
        over = n // TILE_WIDTH
        above = folder.read_tile(1, over, tile_width(1, over, size))[n % TILE_WIDTH]
        entries = parse_bundle(data[: MAX_BUNDLE_BYTES + 1], TILE_WIDTH)
    except (OSError, FormatError) as error:
        raise ArchiveError(f"bundle {n} can't be archived: {error}: `regalia log fsck` says more") from error
    if [leaf_hash(entry) for entry in entries] != hashes or root_hash(hashes) != above:
        raise ArchiveError(f"bundle {n} is not what its tiles say: `regalia log fsck` says more")


def _copy(path: Path, archived: Path, directories: set[Path]) -> None:
    if archived.exists():
        if path.exists() and archived.read_bytes() != path.read_bytes():
            raise ArchiveError(f"{archived} is there already and differs: choose an archive of this log")
        return
    _make(archived.parent, directories)
    temporary = archived.with_name(f"{archived.name}.{secrets.token_hex(4)}.tmp")
    with temporary.open("xb") as file:
        file.write(path.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(archived)
    directories.add(archived.parent)


def _link(path: Path, archived: Path) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.symlink_to(archived)
    temporary.replace(path)


def _make(directory: Path, directories: set[Path]) -> None:
    if not directory.is_dir():
        _make(directory.parent, directories)
        directory.mkdir(exist_ok=True)
        directories.add(directory.parent)


def _sync(directories: set[Path]) -> None:
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
