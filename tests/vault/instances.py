"""An instance's folder with a vault and a table of contents, and a source of randomness that remembers."""

import os
from pathlib import Path

from regalia.vault import SecretRoot, Vault
from vault.content_table import ContentTable

NOW = 1_800_000_000_000


class Remembering:
    """Randomness that remembers every key it was used for."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, count: int) -> bytes:
        random = os.urandom(count)
        if count >= 32:
            self.given.append(random[:32])
        return random


class Instance:
    """A folder with `keys/vault.*` and `regalia.db`, opened and reopened by the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = SecretRoot(os.urandom(32))
        self.random = Remembering()
        (folder / "keys").mkdir(parents=True)
        Vault.create(folder / "keys")
        self.rows = ContentTable(folder / "regalia.db")
        self.vault = self.open()

    def open(self, bucket_records: int = 4096) -> Vault:
        """Another handle on the vault, as another process would have it."""
        return Vault.open(self.folder / "keys", self.root, bucket_records=bucket_records, random=self.random)

    def close(self) -> None:
        self.rows.close()
        self.vault.close()

    def slots(self) -> dict[int, bytes]:
        """The wrapped keys in the key file, by the ids of their keys."""
        return slots_in(self.folder)


def slots_in(folder: Path) -> dict[int, bytes]:
    """The wrapped keys in an instance's key file, by the ids of their keys."""
    raw = (folder / "keys" / "vault.keys").read_bytes()
    found = {}
    for at in range(512, len(raw), 512):
        length = int.from_bytes(raw[at + 8 : at + 10], "big")
        if length:
            found[int.from_bytes(raw[at : at + 8], "big")] = raw[at + 10 : at + 10 + length]
    return found
