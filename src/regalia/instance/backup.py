"""A consistent copy of a running instance, and its way back, which never moves a log backwards.

The copy's checkpoint must not be newer than its database, and its database must still have every row that
the checkpoint's tiles lack. So the checkpoint is read and the database's snapshot begun at the checkpoint's
turn, when no newer one can be published; tiles, which never change, and the vault's keys are copied after.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import file_digest
from pathlib import Path

import msgspec
from sqlalchemy.engine import make_url

from regalia.clock import now_ms
from regalia.errors import RegaliaError
from regalia.instance.directory import Identity, database_of, identity_of
from regalia.keyfile import write_private
from regalia.ledger.contents import open_vault
from regalia.ledger.errors import LogWouldFork
from regalia.ledger.folder import LogFolder
from regalia.ledger.keys import KeyFiles, log_keys
from regalia.ledger.opening import own_checkpoint
from regalia.ledger.tree import Edge
from regalia.ledger.turns import Turns
from regalia.storage import VERSION, Database, check_schema, schema_of
from regalia.vault import SharedVault
from regalia_verify.errors import FormatError
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.source import TILE_HEIGHT, TILE_WIDTH, entries_path, tile_path

KEYS = (
    "log-ed25519.pem", "log-mldsa44.pem", "log.json", "root-ed25519.pem", "root-mldsa44.pem",
    "instance.secret", "root.key",
)  # fmt: skip
VAULT = ("vault.db", "vault.keys")
_MANIFEST = "backup.json"


class BackupError(RegaliaError):
    """A backup that can't be made, or can't be restored here; nothing was changed."""


class Backup(msgspec.Struct, frozen=True):
    """`backup.json`, written last: what the backup holds, and every file's SHA-256."""

    origin: str
    created: int
    schema: str
    database: str
    size: int
    published: int
    files: dict[str, str]
    v: int = 1


def back_up(data_dir: Path, to: Path, *, database_url: str = "", root_key: str = "") -> Backup:
    """Copy the instance into the new folder `to`, while servers run. Raises BackupError, LogDamaged."""
    identity = identity_of(data_dir)
    database = database_of(data_dir, database_url)
    check_schema(database)
    _new_folder(to)
    log = LogFolder(data_dir / "log")
    with _snapshot(database, to) as (size, copy):
        keys = KeyFiles.under(data_dir / "keys")
        with Turns(data_dir / "run").checkpoint():  # nobody signs, and nobody changes the log's keys
            if keys.next.exists():
                raise BackupError("a change of the log's keys was interrupted: the next start settles it")
            note = log.read_checkpoint()
            committed = size()
            _copy_keys(data_dir, to)
        if note is None:
            raise BackupError(f"{data_dir} has published no checkpoint yet: there is nothing to back up")
        checkpoint = own_checkpoint(
            note, log.root, identity.origin, log_keys(KeyFiles.under(to / "keys"), identity.origin)
        )
        copy()
    _copy_log(log, to / "log", checkpoint.size)
    (to / "log" / "checkpoint").write_text(note)
    with closing(open_vault(data_dir, database, root_key)) as vault:
        vault.copy_to(to / "vault")
    shutil.copy2(data_dir / "instance.json", to)
    _copy_timestamps(data_dir, to)
    database.close()
    backup = Backup(
        origin=identity.origin,
        created=now_ms(),
        schema=VERSION,
        database="sqlite" if database.is_sqlite else "postgresql",
        size=committed,
        published=checkpoint.size,
        files=_digests(to),
    )
    _sync(to)
    write_private(to / _MANIFEST, msgspec.json.encode(backup))
    return backup


def restore(source: Path, data_dir: Path, *, database_url: str = "") -> Backup:
    """Bring a backup to a data directory that has no instance, at most a log that it continues.

    Raises BackupError, LogWouldFork, having changed nothing.
    """
    backup = _checked(source)
    if (data_dir / "instance.json").exists() or (data_dir / "regalia.db").exists():
        raise BackupError(f"{data_dir} holds an instance: move all of it but log/ away first")
    _refuse_to_go_back(source, backup, data_dir)
    kept = msgspec.json.decode((source / "instance.json").read_bytes(), type=Identity)
    url = database_url or kept.database
    if (url == "sqlite") != (backup.database == "sqlite"):
        raise BackupError(f"the backup is of {backup.database}: name such a database with --database")
    if url != "sqlite":
        _restore_postgresql(data_dir, source / "database.dump", url)
    for folder in ("keys", "run", "logs", "models", "log"):
        (data_dir / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir.chmod(0o700)
    _restore_log(source / "log", data_dir / "log")
    _copy_timestamps(source, data_dir)
    for file in (source / "keys").iterdir():
        shutil.copy2(file, data_dir / "keys")
    _restore_vault(source / "vault", data_dir, url)
    if url == "sqlite":
        shutil.copy2(source / "regalia.db", data_dir / "regalia.db")
    _sync(data_dir)
    identity = msgspec.json.encode(msgspec.structs.replace(kept, database=url))
    write_private(data_dir / "instance.json", identity)  # last: before it there is no instance
    return backup


def _copy_timestamps(source: Path, to: Path) -> None:
    if (source / "timestamps").exists():
        shutil.copytree(source / "timestamps", to / "timestamps", dirs_exist_ok=True)


def _restore_log(source: Path, to: Path) -> None:
    """The log's files, and links to archived ones where the log that survived does not have them."""

    def linked(folder: str, names: list[str]) -> list[str]:
        there = to / Path(folder).relative_to(source)
        return [name for name in names if (there / name).is_symlink()]

    shutil.copytree(source, to, symlinks=True, ignore=linked, dirs_exist_ok=True)


def _restore_vault(source: Path, data_dir: Path, url: str) -> None:
    """A vault of one host is two files beside the other keys, a shared one a folder, which may be mounted."""
    keys = data_dir / "keys"
    shared = not (source / "vault.db").exists()
    to = keys / "vault" if shared else keys
    to.mkdir(mode=0o700, exist_ok=True)
    if shared and any(to.glob("*.key")):
        raise BackupError(f"{to} holds keys already: the restored ones must not be mixed with them")
    for file in source.iterdir():
        shutil.copy2(file, to)
    if shared:
        database = database_of(data_dir, url)
        SharedVault.complete(to, database)
        database.close()


@contextmanager
def _snapshot(database: Database, to: Path) -> Iterator[tuple[Callable[[], int], Callable[[], None]]]:
    """Two steps: begin a snapshot, giving the log's size in it, and copy that snapshot into `to`."""
    if database.is_sqlite:
        connection = database.driver_connection()

        def begin() -> int:
            connection.execute("BEGIN")
            return int(connection.execute("SELECT size FROM log_state").fetchone()[0])

        def copy() -> None:
            (to / "regalia.db").touch(mode=0o600)
            with closing(sqlite3.connect(to / "regalia.db")) as target:
                connection.backup(target)  # within the transaction, so of its snapshot

        with closing(connection):
            yield begin, copy
        return
    shared = database.driver_connection()

    def begin_shared() -> int:
        cursor = shared.cursor()
        cursor.execute("SET idle_in_transaction_session_timeout = 0")
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT size FROM log_state")
        return int(cursor.fetchone()[0])

    def dump() -> None:
        cursor = shared.cursor()
        cursor.execute("SELECT pg_export_snapshot()")
        name = cursor.fetchone()[0]
        url = database.engine.url.render_as_string(hide_password=False)
        _run("pg_dump", url, "--format=custom", f"--snapshot={name}", f"--file={to / 'database.dump'}")

    with closing(shared):
        yield begin_shared, dump


def _restore_postgresql(data_dir: Path, dump: Path, url: str) -> None:
    database = database_of(data_dir, url)
    if schema_of(database) is not None:
        raise BackupError("the database is not empty: make a new one with `createdb`")
    database.close()
    _run("pg_restore", url, "--no-owner", "--exit-on-error", "--single-transaction", str(dump))


def _run(program: str, url: str, *arguments: str) -> None:
    """A PostgreSQL program; the password travels in the environment, where other users don't see it."""
    parsed = make_url(url)
    password = {"PGPASSWORD": str(parsed.password)} if parsed.password is not None else {}
    where = parsed.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    try:
        subprocess.run(
            [program, f"--dbname={where}", *arguments],
            check=True, capture_output=True, text=True, env={**os.environ, **password},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BackupError(f"needs {program}: sudo apt-get install postgresql-client") from error
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{program} failed: {error.stderr.strip()[-500:]}") from error


def _copy_log(log: LogFolder, to: Path, size: int) -> None:
    """The bundles and tiles of a tree of `size` entries; where a partial one has gone, its full one."""
    names = []
    level, width = 0, size
    while width:
        for n in range(-(-width // TILE_WIDTH)):
            partial = min(TILE_WIDTH, width - n * TILE_WIDTH)
            names.append((tile_path(level, n, partial), tile_path(level, n)))
            if level == 0:
                names.append((entries_path(n, partial), entries_path(n)))
        level, width = level + 1, width >> TILE_HEIGHT
    for wanted, full in names:
        for name in (wanted, full):
            if (log.root / name).is_symlink():  # archived: the backup gets the link
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                (to / name).symlink_to((log.root / name).readlink())
                break
            if (log.root / name).exists():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log.root / name, to / name)
                break
        else:
            raise BackupError(f"{log.root / wanted} is missing: `regalia log fsck` says what can be repaired")


def _copy_keys(data_dir: Path, to: Path) -> None:
    for name in KEYS:
        if (data_dir / "keys" / name).exists():  # a root key may be elsewhere
            shutil.copy2(data_dir / "keys" / name, to / "keys" / name)


def _checked(source: Path) -> Backup:
    try:
        backup = msgspec.json.decode((source / _MANIFEST).read_bytes(), type=Backup)
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(f"{source} is no whole backup: {error}") from error
    if backup.v != 1 or backup.schema != VERSION:
        raise BackupError(f"the backup has schema {backup.schema}, this Regalia needs {VERSION}")
    for name, digest in backup.files.items():
        path = source / name
        if not path.is_file():
            hint = "bring the keys back beside the rest" if name.startswith("keys/") else "it is not whole"
            raise BackupError(f"{path} is missing from the backup: {hint}")
        if _digest(path) != digest:
            raise BackupError(f"{path} is not what was backed up")
    return backup


def _refuse_to_go_back(source: Path, backup: Backup, data_dir: Path) -> None:
    """A log that survived must be one that the backup continues."""
    survived = LogFolder(data_dir / "log")
    note = survived.read_checkpoint()
    if note is None:
        return
    size = _size(note)
    if size > backup.published:  # whoever has signed it: perhaps keys that came after the backup
        raise LogWouldFork(
            f"the log in {data_dir} has {size} published entries, the backup {backup.published}: "
            "restoring it would move the log backwards. Use a newer backup, or begin a log with a new origin"
        )
    keys = log_keys(KeyFiles.under(source / "keys"), backup.origin)
    there = own_checkpoint(note, survived.root, backup.origin, keys)
    edge = Edge.load(there.size, LogFolder(source / "log").read_tile)
    if edge.root() != there.root:
        raise LogWouldFork(f"the log in {data_dir} is not the beginning of the one in the backup")


def _size(note: str) -> int:
    try:
        return Checkpoint.parse(SignedNote.parse(note).text).size
    except FormatError as error:
        raise BackupError(f"the checkpoint of the log that survived can't be read: {error}") from error


def _new_folder(to: Path) -> None:
    if to.exists() and any(to.iterdir()):
        raise BackupError(f"{to} is not empty: each backup has a folder of its own")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    to.chmod(0o700)
    for name in ("log", "keys", "vault"):
        (to / name).mkdir(mode=0o700)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Make files and names durable."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_file() or path.is_dir():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
