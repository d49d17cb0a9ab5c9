"""A vault that several hosts share: the register in PostgreSQL, the wrapped keys in a folder that all mount.

It keeps the promises of `Vault` for all processes of all hosts. PostgreSQL orders what happens and says which
keys there are; it never gets a key, not even a wrapped one, for whatever a database was given may live on in
dead rows, its write-ahead log, replicas and dumps. The folder is where keys are destroyed, and asks nothing
more of a file system than that. See docs/decisions/0007.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from regalia.storage import Database
from regalia.vault.errors import VaultError
from regalia.vault.keychain import Keychain
from regalia.vault.keyfolder import KeyFolder
from regalia.vault.roots import Random, RootKey
from regalia.vault.shared_register import GENERATION, SharedRegister
from regalia.vault.vault import BUCKET_RECORDS, HOUR_MS, Vault

SCRUBBED = 256
"""How many keys are scrubbed between two transactions."""

_LOOKED_FOR = 64


class SharedVault(Vault):
    """An open shared vault. Made by `over`."""

    GENERATION = GENERATION
    _register: SharedRegister
    _slots: KeyFolder

    @staticmethod
    def exists(database: Database) -> bool:
        """Whether the database has a vault. Raises VaultError."""
        return SharedRegister.exists(database)

    @classmethod
    def make(cls, folder: Path, database: Database, *, random: Random = os.urandom) -> bool:
        """Make an empty vault, unless the database has one; whether it did. Raises VaultError.

        The folder comes first: what an interrupted creation has left there is replaced.
        """
        name = random(16)
        with SharedRegister.creating(database, name) as missing:
            if missing:
                KeyFolder.create(folder, name)
            return missing

    @classmethod
    def over(
        cls,
        folder: Path,
        database: Database,
        root: RootKey,
        *,
        window_ms: int = HOUR_MS,
        bucket_records: int = BUCKET_RECORDS,
        random: Random = os.urandom,
    ) -> "SharedVault":
        """Open the vault of the database, its keys in the folder, and finish what a crash interrupted.

        Raises VaultError, also where the folder is not the one that all hosts share; RootKeyError.
        """
        with ExitStack() as opened:
            register = SharedRegister(database)
            opened.callback(register.close)
            slots = KeyFolder(folder, register.name, register)
            opened.callback(slots.close)
            cls.check_root(register, root, folder)
            with register.transaction():
                _check_folder(slots, register.newest_slots(_LOOKED_FOR), folder)
                number, others, gone = register.enter()
                slots.enter(number, others)
                slots.leave(gone)
            keychain = Keychain(register, slots, root, random)
            vault = cls(folder, keychain, window_ms, bucket_records, random)
            vault._destroyed()
            opened.pop_all()
            return vault

    @staticmethod
    def complete(folder: Path, database: Database) -> None:
        """After a restore: empty files for the keys that were destroyed while the backup was made.

        The dump still lists them. So their contents can't be opened, but the vault can.
        """
        register = SharedRegister(database)
        with register.reading():
            slots = register.used()
        KeyFolder.complete(folder, slots)
        register.close()

    def close(self) -> None:
        """Close files and connection, and forget the keys."""
        with suppress(VaultError, OSError):  # else whoever opens the vault next notices that we are gone
            self._slots.leave([self._register.leave()])
        super().close()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Be the only one, on all hosts, that erases. Raises ErasureUnderWay instead of waiting."""
        with self._register.exclusively():
            yield

    def copy_to(self, folder: Path) -> None:
        """A copy of the keys in another folder, for a backup, whose dump of the database has the register."""
        self._slots.copy_to(folder)

    def _destroyed(self) -> None:
        """As in `Vault`, but outside of a transaction, which would end while many files are overwritten.

        Slots are never used twice, so nobody can be filling one that is scrubbed.
        """
        self._slots.advance()
        while True:
            with self._register.reading():
                condemned = self._register.condemned()[:SCRUBBED]
            if not condemned:
                return
            self._slots.scrub(condemned)
            with self._register.transaction():
                self._register.free(condemned)


def _check_folder(slots: KeyFolder, newest: Sequence[int], folder: Path) -> None:
    """Raise VaultError where the newest keys are not in the folder: then it is not the right one."""
    missing = [slot for slot in newest if not slots.holds(slot)]
    if missing:
        raise VaultError(
            f"{folder} lacks {len(missing)} of the newest keys: it is not the folder that all hosts share, "
            "or an old copy of it. See docs/scale-out.md"
        )
