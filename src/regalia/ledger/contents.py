"""What a call's records commit to: sealed before it reaches the database, opened for receipts.

One row a record. It is sealed under the ident `call/phase`, so that no row can stand in another's place.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from regalia.clock import call_ms
from regalia.ledger.entry import Entry, Part
from regalia.ledger.errors import LogDamaged, SealedElsewhere
from regalia.ledger.spans import Spans
from regalia.ledger.statements import statements_for
from regalia.storage import Database
from regalia.vault import (
    KeyElsewhere,
    Sealed,
    SharedVault,
    Vault,
    VaultError,
    bucket_of,
    create_root_file,
    root_key,
)
from regalia.vault.retention import DEFAULT

PLAIN, SEALED = 0, 1
"""How a row's `data` is kept. Only the first schema knew plain rows; opening the log seals them."""

_BATCH = 256
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Part, ...]).decode

ContentRow = tuple[int, int, str, str, int, bytes, bytes]
"""Index, sealing, call, phase, bucket, sealed key, sealed data."""


class Contents:
    """Seals and opens contents. Safe to use from several threads."""

    def __init__(self, vault: Vault, clock: Callable[[], int]) -> None:
        self.vault = vault
        self.classes: Mapping[str, str] = {}  # each project's retention class; replaced as a whole
        self._clock = clock

    def row(self, index: int, entry: Entry) -> ContentRow:
        """The row of an entry that has parts. Raises VaultError."""
        retention = self.classes.get(entry.project, DEFAULT)
        parts = _encode(entry.parts)
        return self._sealed(index, entry.project, retention, entry.call, entry.phase, parts, self._clock())

    def subjects(self, entry: Entry) -> list[tuple[str, bytes, str]]:
        """The rows by which the call is found again for its end users: project, pseudonym, call."""
        project = entry.project
        return [(project, self.vault.subject(project, user), entry.call) for user in entry.end_users]

    def parts(self, project: str, call: str, phase: str, key: bytes, data: bytes) -> tuple[Part, ...]:
        """What was sealed. Raises ContentErased, SealedElsewhere, or LogDamaged."""
        try:
            return _decode(self.vault.open_sealed(project, ident(call, phase), Sealed(key, data)))
        except KeyElsewhere as error:
            raise SealedElsewhere(
                f"this host does not have the keys of {call} ({error}): ask the host that answered it, or "
                "let the hosts share one vault, see docs/scale-out.md"
            ) from error
        except (VaultError, msgspec.DecodeError) as error:
            raise LogDamaged(f"the stored contents of {call} can't be read: {error}") from error

    def seal_plain(self, database: Database) -> int:
        """Seal what the first schema kept in the clear, and clear the file of it; how many records."""
        mark = "?" if database.is_sqlite else "%s"
        find = (
            "SELECT contents.idx, calls.project, calls.call, contents.phase, contents.data FROM contents "
            f"JOIN calls ON calls.call = contents.call WHERE contents.sealing = {PLAIN} LIMIT {_BATCH}"
        )
        update = (
            f"UPDATE contents SET sealing = {mark}, bucket = {mark}, key = {mark}, data = {mark} "
            f"WHERE idx = {mark}"
        )
        count = 0
        connection = database.driver_connection()
        try:
            spans = Spans(statements_for(database))
            while self._seal_some(connection.cursor(), find, update, spans):
                count += 1
            if count:
                for statement in _rewriting(database):
                    connection.cursor().execute(statement)
        finally:
            connection.close()
        return count

    def _seal_some(self, cursor: Any, find: str, update: str, spans: Spans) -> bool:
        cursor.execute("BEGIN")
        spans.begin()
        cursor.execute(find)
        found = cursor.fetchall()
        for index, project, call, phase, data in found:
            said = call_ms(call)  # its age counts from when it was said
            row = self._sealed(index, project, DEFAULT, call, phase, bytes(data), said)
            _, sealing, _, _, bucket, key, sealed = row
            cursor.execute(update, (sealing, bucket, key, sealed, index))
            spans.note(cursor, [row])
        cursor.execute("COMMIT")
        spans.committed()
        return bool(found)

    def _sealed(
        self, index: int, project: str, retention: str, call: str, phase: str, content: bytes, now_ms: int
    ) -> ContentRow:
        sealed = self.vault.seal(project, retention, ident(call, phase), content, now_ms)
        return index, SEALED, call, phase, bucket_of(sealed.key), sealed.key, sealed.data


def ident(call: str, phase: str) -> bytes:
    """Under what a content is sealed."""
    return f"{call}/{phase}".encode()


def open_vault(data_dir: Path, database: Database, root: str) -> Vault:
    """The vault in `data_dir`/keys under the root key that `root` names, the default one if it is empty.

    With PostgreSQL it is one that several hosts can share, unless there is another. Made where no content
    has been sealed yet. Raises VaultError, RootKeyError.
    """
    folder = data_dir / "keys"
    if database.is_sqlite or (folder / "vault.db").exists():
        if not (folder / "vault.db").exists():
            _refuse_if_sealed(database, f"restore vault.db and vault.keys to {folder}")
            create_vault(data_dir, root)
        return Vault.open(folder, root_key(root or default_root(data_dir)))
    if not SharedVault.exists(database):
        _refuse_if_sealed(database, "restore the whole dump of the database")
        create_root(data_dir, root)
        SharedVault.make(folder / "vault", database)
    return SharedVault.over(folder / "vault", database, root_key(root or default_root(data_dir)))


def create_vault(data_dir: Path, root: str = "") -> None:
    """Make the vault's files, and the default root key unless another one is named. Raises VaultError."""
    create_root(data_dir, root)
    Vault.create(data_dir / "keys")


def create_root(data_dir: Path, root: str = "") -> None:
    """Make the default root key, unless it is there or another one is named. Raises RootKeyError."""
    own = data_dir / "keys" / "root.key"
    if not root and not own.exists():
        create_root_file(own)
    own.with_name(f"{own.name}.new").unlink(missing_ok=True)  # of an interrupted creation


def default_root(data_dir: Path) -> str:
    """The root key that `regalia init` makes."""
    return f"file:{(data_dir / 'keys' / 'root.key').absolute()}"


def _refuse_if_sealed(database: Database, remedy: str) -> None:
    """Raise VaultError where contents have been sealed: then there was a vault."""
    with database.read() as connection:
        sealed = connection.exec_driver_sql(f"SELECT 1 FROM contents WHERE sealing = {SEALED} LIMIT 1")
        if sealed.first() is not None:
            raise VaultError(f"the vault is missing, but contents have been sealed: {remedy}")


def _rewriting(database: Database) -> tuple[str, ...]:
    """What makes the database forget bytes that its rows held before."""
    if database.is_sqlite:
        return "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"
    return ("VACUUM FULL contents",)
