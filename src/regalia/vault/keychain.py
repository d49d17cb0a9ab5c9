"""The keychain: makes keys, wraps them into slots, unwraps them again, and overwrites condemned ones.

It joins the register (what a key is for), the slots (its wrapped bytes) and the root key. Keys are in
memory only while a caller has them. Every method belongs into the register's `transaction()` or, if it
only reads, `reading()`.
"""

from typing import NamedTuple

from msgspec.structs import replace

from regalia.vault.errors import ContentErased, KeyElsewhere, RootKeyError, VaultError
from regalia.vault.keyslots import KeySlots
from regalia.vault.register import Bucket, ProjectKey, Register
from regalia.vault.roots import Random, RootKey
from regalia.vault.sealing import (
    MAX_ID,
    NONCE_BYTES,
    SECRET_BYTES,
    BucketKey,
    bucket_context,
    project_context,
    unwrap,
    wrap,
)

SUBJECTS = ":subjects"
"""The purpose of the key for end-user references. No retention class can be called so."""


class OpenBucket(NamedTuple):
    """A bucket and its unwrapped key."""

    bucket: Bucket
    key: BucketKey


class Keychain:
    """The keys of one vault."""

    def __init__(self, register: Register, slots: KeySlots, root: RootKey, random: Random) -> None:
        self.register = register
        self.slots = slots
        self._root = root
        self._random = random

    def kept_bucket(self, bucket: int) -> Bucket:
        """The bucket, if its key exists. Raises ContentErased if it was destroyed, or VaultError."""
        found = self.register.bucket(bucket)
        if found is None:
            raise KeyElsewhere(f"the bucket {bucket} is not in this vault")
        if found.destroyed is not None:
            raise ContentErased("this content was erased: its key was destroyed")
        return found

    def open_bucket(self, bucket: Bucket) -> OpenBucket:
        """Unwrap a bucket's key."""
        outer = self.project_secret(self.register.project_key(bucket.parent))
        context = bucket_context(bucket.id, bucket.parent, bucket.begins, bucket.ends)
        secret = unwrap(outer, self._wrapped(bucket.slot, bucket.id), context)
        return OpenBucket(bucket, BucketKey(bucket.id, secret))

    def project_secret(self, key: ProjectKey) -> bytes:
        """Unwrap a project key."""
        if key.root != self._root.id:
            raise RootKeyError(f"a project key is under the root key {key.root}, not {self._root.id}")
        context = project_context(key.id, key.project, key.purpose)
        return self._root.unwrap(self._wrapped(key.slot, key.id), context)

    def new_bucket(self, project: str, retention_class: str, begins: int, ends: int) -> OpenBucket:
        """Make a bucket for a window under the project's live key, which is made if there is none."""
        parent = self.project_key(project, retention_class)
        return self._make_bucket(Bucket(0, project, retention_class, begins, ends, parent.id, None))

    def successor(self, old: Bucket, now_ms: int) -> OpenBucket:
        """Make a bucket for what stays of another one. Nothing else is sealed in it."""
        return self._make_bucket(replace(old, retired=now_ms))

    def project_key(self, project: str, purpose: str) -> ProjectKey:
        """The live key of a project for a purpose; made if there is none."""
        found = self.register.live_project_key(project, purpose)
        if found is not None:
            return found
        if not project or "\0" in project:
            raise VaultError("a project's id is not empty and holds no NUL")
        (slot,) = self.register.take_slots(1)
        key = ProjectKey(self._new_id(), project, purpose, self._root.id, slot)
        context = project_context(key.id, project, purpose)
        self.slots.write(slot, key.id, self._root.wrap(self._random(SECRET_BYTES), context))
        self.slots.sync()
        self.register.add_project_key(key)
        return key

    def rewrap_all(self, new: RootKey) -> int:
        """Wrap every project key by another root key, into new slots; how many.

        The old slots are condemned. After the commit, call `change_root`.
        """
        keys = self.register.kept_project_keys()
        for key, slot in zip(keys, self.register.take_slots(len(keys)), strict=True):
            context = project_context(key.id, key.project, key.purpose)
            self.slots.write(slot, key.id, new.wrap(self.project_secret(key), context))
            self.register.rewrapped(key, new.id, slot)
        self.slots.sync()
        return len(keys)

    def change_root(self, new: RootKey) -> None:
        """Use another root key from here on."""
        self._root = new

    def scrub(self) -> None:
        """Overwrite the condemned slots, then let them be used again.

        Within the transaction, so that no slot is scrubbed that another process is already filling.
        """
        condemned = self.register.condemned()
        if condemned:
            self.slots.scrub(condemned)
            self.register.free(condemned)

    def problem(self, key: ProjectKey | Bucket) -> str:
        """What is wrong with a key, in a sentence: it is missing, or can't be unwrapped. Else nothing."""
        try:
            if isinstance(key, ProjectKey):
                found = self.register.project_key(key.id)
                if found.slot is not None:  # else it was destroyed meanwhile
                    self.project_secret(found)
            else:
                self.open_bucket(self.kept_bucket(key.id))
        except VaultError as error:
            return str(error)
        except ContentErased:
            return ""  # destroyed meanwhile
        return ""

    def _make_bucket(self, like: Bucket) -> OpenBucket:
        (slot,) = self.register.take_slots(1)
        bucket = replace(like, id=self._new_id(), slot=slot)
        secret = self._random(SECRET_BYTES)
        outer = self.project_secret(self.register.project_key(bucket.parent))
        context = bucket_context(bucket.id, bucket.parent, bucket.begins, bucket.ends)
        self.slots.write(slot, bucket.id, wrap(outer, secret, context, self._random(NONCE_BYTES)))
        self.slots.sync()
        self.register.add_bucket(bucket)
        return OpenBucket(bucket, BucketKey(bucket.id, secret))

    def _wrapped(self, slot: int | None, key: int) -> bytes:
        wrapped = None if slot is None else self.slots.read(slot, key)
        if wrapped is None:
            raise VaultError(f"the key {key} is missing from slot {slot} of the vault's keys")
        return wrapped

    def _new_id(self) -> int:
        """Random, so that ids of other vaults, or from before a restore, are not taken for ours."""
        return int.from_bytes(self._random(8), "big") & MAX_ID
