"""Contents sealed under keys that can be destroyed. The ledger stores what the vault seals."""

from regalia.vault.errors import ContentErased, ErasureUnderWay, KeyElsewhere, RootKeyError, VaultError
from regalia.vault.register import Bucket
from regalia.vault.roots import RootKey, SecretRoot, create_root_file, root_key
from regalia.vault.sealing import KEY_BYTES, Sealed, bucket_of
from regalia.vault.shared import SharedVault
from regalia.vault.vault import BUCKET_RECORDS, HOUR_MS, Rewrap, Vault

__all__ = [
    "BUCKET_RECORDS",
    "HOUR_MS",
    "KEY_BYTES",
    "Bucket",
    "ContentErased",
    "ErasureUnderWay",
    "KeyElsewhere",
    "Rewrap",
    "RootKey",
    "RootKeyError",
    "Sealed",
    "SecretRoot",
    "SharedVault",
    "Vault",
    "VaultError",
    "bucket_of",
    "create_root_file",
    "root_key",
]
