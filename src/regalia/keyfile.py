"""Private keys in files: PKCS8 PEM, readable by their owner only, never replaced by accident."""

import os
import stat
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from regalia.errors import RegaliaError

MAX_KEY_FILE = 64 * 1024

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey
K = TypeVar("K")


class KeyUnusable(RegaliaError):
    """A key can't be read or made, is readable by others, or is not the one it should be."""


def generate_pair() -> tuple[Ed25519PrivateKey, MLDSA44PrivateKey]:
    """A new key of each kind: one for today, one for when quantum computers can forge the other."""
    return Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()


def write_pair(ed25519: Path, mldsa44: Path, pair: tuple[PrivateKey, PrivateKey]) -> None:
    """Write both keys durably, each whole or not at all; never replaces one (FileExistsError)."""
    for path, key in zip((ed25519, mldsa44), pair, strict=True):
        write_private(path, _pem(key))


def write_missing_pair(ed25519: Path, mldsa44: Path, pair: tuple[PrivateKey, PrivateKey]) -> None:
    """Write those of the keys that are not there yet."""
    for path, key in zip((ed25519, mldsa44), pair, strict=True):
        if not path.exists():
            write_private(path, _pem(key))


def load_pair(ed25519: Path, mldsa44: Path) -> tuple[Ed25519PrivateKey, MLDSA44PrivateKey]:
    """Read both keys. Raises KeyUnusable."""
    return (
        _load(ed25519, Ed25519PrivateKey, "an Ed25519"),  # type: ignore[type-abstract]  # for isinstance only
        _load(mldsa44, MLDSA44PrivateKey, "an ML-DSA-44"),  # type: ignore[type-abstract]
    )


def write_private(path: Path, content: bytes) -> None:
    """Make a file of mode 0600, durable and whole when it is there; FileExistsError if it is already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)  # unlike a rename, it fails where the name is taken
    finally:
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(path: Path, kind: type[K], name: str) -> K:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(MAX_KEY_FILE)
    except OSError as error:
        raise KeyUnusable(f"the key {path} can't be read: {error.strerror}") from error
    if mode & 0o077:
        raise KeyUnusable(f"the key {path} has mode {mode:04o}, so others may read it: `chmod 600 {path}`")
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"the key {path} is not an unencrypted PKCS8 key: {error}") from error
    if not isinstance(key, kind):
        raise KeyUnusable(f"the key {path} is not {name} key")
    return key
