"""An instance's data directory: its secrets, its database, and how it is made."""

from pathlib import Path

import msgspec
from sqlalchemy.exc import ArgumentError

from regalia.errors import RegaliaError
from regalia.storage import Database, open_database


class InstanceError(RegaliaError):
    """The data directory is not what it should be; the message says what to do."""


class Identity(msgspec.Struct, frozen=True):
    """`instance.json`: the log's origin, when the instance was made (ms), and where its database is."""

    origin: str
    created: int
    database: str = "sqlite"


def identity_of(data_dir: Path) -> Identity:
    """Read `instance.json`. Raises InstanceError."""
    try:
        return msgspec.json.decode((data_dir / "instance.json").read_bytes(), type=Identity)
    except FileNotFoundError as error:
        raise InstanceError(
            f"{data_dir} holds no instance; make one: regalia init --data-dir {data_dir}"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise InstanceError(f"can't read {data_dir / 'instance.json'}: {error}") from error


def database_of(data_dir: Path, url: str = "") -> Database:
    """The instance's database: at `url`, else where `init` was told. Raises InstanceError."""
    return open_named(data_dir, url or identity_of(data_dir).database)


def open_named(data_dir: Path, url: str) -> Database:
    """The database at `url`, or the one in the data directory for "sqlite". Raises InstanceError."""
    if url == "sqlite":
        return open_database(f"sqlite:///{(data_dir / 'regalia.db').absolute()}")
    if not url.startswith("postgresql://"):
        raise InstanceError("the database is `sqlite` or a URL like postgresql://user@host/name")
    try:
        return open_database(url)
    except (ValueError, ArgumentError) as error:
        raise InstanceError(f"the database's URL can't be used: {error}") from error


def secret_of(data_dir: Path) -> bytes:
    """The 32 bytes under which keys are hashed and projects get pseudonyms. Raises InstanceError."""
    try:
        return bytes.fromhex((data_dir / "keys" / "instance.secret").read_text())
    except (OSError, ValueError) as error:
        raise InstanceError(f"can't read the instance's secret: {error}") from error
