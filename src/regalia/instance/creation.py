"""How an instance is made. A creation that was killed half-way is finished by the same command.

`init.json`, written first, says what was begun; everything is made only where it is missing, and whole or not
at all; in the end `init.json` is renamed to `instance.json`, and from then on there is an instance.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from sqlalchemy import delete, select

from regalia.clock import now_ms
from regalia.identity import hash_key, new_key
from regalia.identity.keys import RANDOM_BYTES
from regalia.instance.directory import Identity, InstanceError, open_named, secret_of
from regalia.keyfile import generate_pair, sync_folder, write_missing_pair, write_private
from regalia.ledger import KeyFiles, create_root, create_vault
from regalia.ledger.keys import Past, root_name, verifier_keys
from regalia.ledger.rotation import write_past
from regalia.storage import Database, DatabaseUnreachable, schema_of, upgrade
from regalia.storage.schema import api_keys, log_state
from regalia_verify.errors import FormatError
from regalia_verify.note import MAX_NAME, Checkpoint, SignedNote

FIRST_KEY = "first admin key"
Random = Callable[[int], bytes]


class Created(msgspec.Struct, frozen=True):
    """What `regalia init` prints, once."""

    api_key: str
    origin: str
    data_dir: str


def create(
    data_dir: Path,
    origin: str | None,
    database_url: str = "sqlite",
    *,
    continues: str | None = None,
    random: Random = os.urandom,
) -> Created:
    """Make an instance in `data_dir`: keys, database, the first admin key. Raises InstanceError.

    `database_url` is "sqlite", for a file in the data directory, or `postgresql://user@host/name`.
    `continues` is the last checkpoint of a log that had to end, which the new log's first record names.
    """
    if (data_dir / "instance.json").exists():
        raise InstanceError(f"{data_dir} already holds an instance; choose another --data-dir")
    begun = _begun(data_dir)
    identity = _identity(begun, origin, database_url, random)
    previous = None if continues is None else _previous(continues, identity.origin)
    database = open_named(data_dir, database_url)
    _refuse_a_used_one(database, begun is not None)
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    for folder in ("keys", "run", "logs", "models", "log"):
        (data_dir / folder).mkdir(exist_ok=True, mode=0o700)
    if begun is None:
        write_private(data_dir / "init.json", msgspec.json.encode(identity))
    _make_keys(data_dir, identity.origin, previous, random)
    if not database.is_sqlite:
        create_root(data_dir)  # the rest of a shared vault comes later
    elif not (data_dir / "keys" / "vault.db").exists():
        create_vault(data_dir)
    upgrade(database)
    key = new_key(random(RANDOM_BYTES))
    _add_first_key(database, hash_key(secret_of(data_dir), key), f"key_{random(8).hex()}")
    database.close()
    for place in (data_dir, data_dir / "keys"):  # an interrupted write leaves a second name of a whole file
        for draft in (*place.glob("*.new"), *place.glob("*.new-*")):
            draft.unlink()
    (data_dir / "init.json").rename(data_dir / "instance.json")
    sync_folder(data_dir)
    return Created(api_key=key, origin=identity.origin, data_dir=str(data_dir))


def _begun(data_dir: Path) -> Identity | None:
    """What an earlier creation here began and did not finish."""
    try:
        return msgspec.json.decode((data_dir / "init.json").read_bytes(), type=Identity)
    except FileNotFoundError:
        if (data_dir / "keys" / "instance.secret").exists():
            raise InstanceError(
                f"{data_dir} holds the keys of an instance, but no instance.json: bring that back from a "
                "backup, or choose another --data-dir"
            ) from None
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise InstanceError(f"can't read {data_dir / 'init.json'}: {error}") from error


def _identity(begun: Identity | None, origin: str | None, database_url: str, random: Random) -> Identity:
    """The new instance's, or the one that was begun, which must not be another one."""
    if begun is not None:
        if origin not in {None, begun.origin} or database_url != begun.database:
            raise InstanceError(
                f"making {begun.origin} on {begun.database} was interrupted here: repeat that, or choose "
                "another --data-dir"
            )
        return begun
    origin = origin or f"regalia.local/{random(4).hex()}"
    if not origin.isprintable() or any(mark.isspace() or mark == "+" for mark in origin):
        raise InstanceError(
            f"the origin {origin!r} must have neither spaces nor `+`, like a URL without https://"
        )
    if len(root_name(origin).encode()) > MAX_NAME:
        raise InstanceError("the origin is too long: 250 bytes at most")
    return Identity(origin=origin, created=now_ms(), database=database_url)


def _previous(note: str, origin: str) -> dict[str, str | int]:
    try:
        end = Checkpoint.parse(SignedNote.parse(note).text)
    except FormatError as error:
        raise InstanceError(f"what the log is to continue is not a checkpoint: {error}") from error
    if end.origin == origin:
        raise InstanceError(f"a log can't continue itself: give the new one another origin than {origin}")
    return {"origin": end.origin, "size": end.size, "root": end.root.hex()}


def _make_keys(data_dir: Path, origin: str, previous: dict[str, str | int] | None, random: Random) -> None:
    """The instance's secret, the log's keys, its root, and what its first record will say of them."""
    keys = data_dir / "keys"
    if not (keys / "instance.secret").exists():
        write_private(keys / "instance.secret", random(32).hex().encode())
    log, root = KeyFiles.under(keys), KeyFiles.under(keys, "root")
    for files in (log, root):
        write_missing_pair(files.ed25519, files.mldsa44, generate_pair())
    public = tuple(key.encode() for key in verifier_keys(root, root_name(origin)))
    write_past(log, Past(root=public, previous=previous))


def _add_first_key(database: Database, key_hash: bytes, key_id: str) -> None:
    """The first admin key, in the place of one that an interrupted creation made and nobody has seen."""
    with database.write() as connection:
        connection.execute(delete(api_keys).where(api_keys.c.name == FIRST_KEY))
        connection.execute(
            api_keys.insert().values(
                id=key_id, hash=key_hash, name=FIRST_KEY, role="owner", scope="instance", created=now_ms()
            )
        )


def _refuse_a_used_one(database: Database, begun: bool) -> None:
    """A database belongs to one log: raise InstanceError where it has one, or can't be reached."""
    if database.file is not None and not database.file.exists():
        return
    try:
        used = schema_of(database) is not None
    except DatabaseUnreachable as error:
        raise InstanceError(str(error)) from error
    if used and begun:
        with database.read() as connection:
            used = connection.execute(select(log_state.c.size)).scalar_one() > 0
    if used:
        where = database.file or "the database"
        raise InstanceError(f"{where} is another instance's: choose an empty one (PostgreSQL: `createdb`)")
