"""Erasing: the order of steps in which nothing is lost, nothing survives, and all of it is on record.

    retire       nothing new is sealed under the keys in question
    announce     the record (`content.erased`, `retention.applied`) is durable in the log
    destroy      the keys are gone
    tidy up      the rows of what can't be opened any more leave the database

Announcing waits for the log's lock, so what was sealed before retiring is in the log before the record
is. Every step may be repeated: whoever asked for an erasure keeps the request until it is done, and after
a crash runs it again, with an `announce` that does nothing if the record is in the log already.

A single record shares its bucket with others, which move to a new bucket first. Their old wrapped keys
may survive in a write-ahead log, a free page, a dead tuple or a backup; when the old bucket's key is
destroyed, they are noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from regalia.vault.errors import ContentErased
from regalia.vault.vault import Rewrap, Vault

ROWS = 512
"""How many records move in one transaction, which holds the log's lock."""

Announce = Callable[[], None]
"""Appends the erasure's record to the log; returns when it is durable."""


class ContentRows(Protocol):
    """Where sealed contents are kept: the ledger's side of an erasure. Each method is one transaction."""

    def locate(self, calls: frozenset[str]) -> Mapping[int, frozenset[str]]:
        """The buckets that the contents of these calls are in, each with those of the calls it holds."""

    def move(self, bucket: int, erased: frozenset[str], rewrap: Rewrap, limit: int) -> int:
        """Take up to `limit` records out of a bucket, under the log's lock; how many (0: none is left).

        The records of `erased` calls are deleted; every other one gets, instead of its `Sealed.key`, what
        `rewrap(ident, key)` returns.
        """

    def drop(self, bucket: int, limit: int) -> int:
        """Delete up to `limit` records of a bucket whose key is gone; how many (0: none is left)."""


def erase_project(vault: Vault, project: str, announce: Announce, now_ms: int) -> int:
    """Erase all contents of a project, and unlink its end-user references; how many keys that took.

    The time does not depend on how much there is. `tidy` clears up when there is time for it.
    """
    with vault.exclusively():
        vault.retire_project(project, now_ms)
        announce()
        return vault.destroy_project(project, now_ms)


def erase_selected(
    vault: Vault,
    rows: ContentRows,
    whole: Sequence[int],
    parts: Mapping[int, frozenset[str]],
    announce: Announce,
    now_ms: int,
) -> None:
    """Erase whole buckets, and of others only the contents of the calls that `parts` names.

    What age, retention and projects do where a hold keeps some of it.
    """
    with vault.exclusively():
        vault.retire_buckets(whole, now_ms)
        announce()
        vault.destroy_buckets(whole, now_ms)
        for bucket in whole:
            _drop(rows, bucket)
        for bucket, erased in parts.items():
            _empty(vault, rows, bucket, erased, now_ms)


def erase_calls(
    vault: Vault, rows: ContentRows, calls: frozenset[str], announce: Announce, now_ms: int
) -> None:
    """Erase the contents of single calls. They must have ended: what is sealed later is not erased.

    Raises VaultError, naming the record, if another one in such a bucket is damaged: it has to be restored
    or erased as well, for it can't be moved.
    """
    with vault.exclusively():
        announce()
        for bucket, erased in rows.locate(calls).items():
            _empty(vault, rows, bucket, erased, now_ms)


def resume(vault: Vault, rows: ContentRows, now_ms: int) -> int:
    """Finish the replacements of buckets that a crash interrupted; how many.

    What it still finds in them is kept, so interrupted erasures must be run again as well.
    """
    with vault.exclusively():
        begun = vault.replacing()
        for bucket in begun:
            _empty(vault, rows, bucket, frozenset(), now_ms)
        return len(begun)


def tidy(vault: Vault, rows: ContentRows, now_ms: int) -> int:
    """Delete what erased projects left behind: rows that can't be opened, keys that can't be unwrapped."""
    tidied = 0
    with vault.exclusively():
        while orphans := vault.orphans():
            for bucket in orphans:
                _drop(rows, bucket)
            tidied += vault.destroy_buckets(orphans, now_ms)
    return tidied


def _empty(vault: Vault, rows: ContentRows, bucket: int, erased: frozenset[str], now_ms: int) -> None:
    """Move every record but the erased ones out of a bucket, then destroy it."""
    for old, new in vault.replacing().items():
        if new == bucket:  # a crash has left records that are still to come
            _empty(vault, rows, old, frozenset(), now_ms)
    try:
        rewrap = vault.replace(bucket, now_ms)
    except ContentErased:
        _drop(rows, bucket)
    else:
        while rows.move(bucket, erased, rewrap, ROWS):
            pass
    vault.replaced(bucket, now_ms)


def _drop(rows: ContentRows, bucket: int) -> None:
    while rows.drop(bucket, ROWS):
        pass
