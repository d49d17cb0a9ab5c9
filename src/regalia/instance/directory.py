"""An instance's data directory: its secrets, its database, and how it is made."""

import os
from pathlib import Path

import msgspec
from sqlalchemy.exc import ArgumentError

from regalia.clock import now_ms
from regalia.errors import RegaliaError
from regalia.identity import hash_key, new_key
from regalia.identity.keys import RANDOM_BYTES
from regalia.ledger import KeyFiles, create_keys, create_root, create_vault
from regalia.storage import Database, DatabaseUnreachable, open_database, schema_of, upgrade
from regalia.storage.schema import api_keys


class InstanceError(RegaliaError):
    """The data directory is not what it should be; the message says what to do."""


class Identity(msgspec.Struct, frozen=True):
    """`instance.json`: the log's origin, when the instance was made (ms), and where its database is."""

    origin: str
    created: int
    database: str = "sqlite"


class Created(msgspec.Struct, frozen=True):
    """What `regalia init` prints, once."""

    api_key: str
    origin: str
    data_dir: str


def create(data_dir: Path, origin: str | None, database_url: str = "sqlite") -> Created:
    """Make an instance in `data_dir`: keys, database, the first admin key. Raises InstanceError.

    `database_url` is "sqlite", for a file in the data directory, or `postgresql://user@host/name`.
    """
    if (data_dir / "instance.json").exists():
        raise InstanceError(f"{data_dir} already holds an instance; choose another --data-dir")
    origin = origin or f"regalia.local/{os.urandom(4).hex()}"
    if not origin.isprintable() or any(mark.isspace() or mark == "+" for mark in origin):
        raise InstanceError(
            f"the origin {origin!r} must have neither spaces nor `+`, like a URL without https://"
        )
    database = _database(data_dir, database_url)
    _refuse_a_used_one(database)
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    for folder in ("keys", "run", "logs", "models", "log"):
        (data_dir / folder).mkdir(exist_ok=True, mode=0o700)
    secret = os.urandom(32)
    _write_private(data_dir / "keys" / "instance.secret", secret.hex().encode())
    create_keys(KeyFiles.under(data_dir / "keys"))
    make_vault = create_vault if database.is_sqlite else create_root  # the rest of a shared one comes later
    make_vault(data_dir)
    upgrade(database)
    key = new_key(os.urandom(RANDOM_BYTES))
    with database.write() as connection:
        connection.execute(
            api_keys.insert().values(
                id=f"key_{os.urandom(8).hex()}",
                hash=hash_key(secret, key),
                name="first admin key",
                role="owner",
                scope="instance",
                created=now_ms(),
            )
        )
    database.close()
    identity = Identity(origin=origin, created=now_ms(), database=database_url)
    _write_private(data_dir / "instance.json", msgspec.json.encode(identity))
    return Created(api_key=key, origin=origin, data_dir=str(data_dir))


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
    return _database(data_dir, url or identity_of(data_dir).database)


def _database(data_dir: Path, url: str) -> Database:
    if url == "sqlite":
        return open_database(f"sqlite:///{(data_dir / 'regalia.db').absolute()}")
    if not url.startswith("postgresql://"):
        raise InstanceError("the database is `sqlite` or a URL like postgresql://user@host/name")
    try:
        return open_database(url)
    except (ValueError, ArgumentError) as error:
        raise InstanceError(f"the database's URL can't be used: {error}") from error


def _refuse_a_used_one(database: Database) -> None:
    """A database belongs to one log: raise InstanceError where it has tables, or can't be reached."""
    if database.is_sqlite:
        return
    try:
        used = schema_of(database) is not None
    except DatabaseUnreachable as error:
        raise InstanceError(str(error)) from error
    if used:
        raise InstanceError("the database is another instance's: make an empty one with `createdb`")


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def secret_of(data_dir: Path) -> bytes:
    """The 32 bytes under which keys are hashed and projects get pseudonyms. Raises InstanceError."""
    try:
        return bytes.fromhex((data_dir / "keys" / "instance.secret").read_text())
    except (OSError, ValueError) as error:
        raise InstanceError(f"can't read the instance's secret: {error}") from error
