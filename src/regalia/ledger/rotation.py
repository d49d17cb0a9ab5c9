"""New keys for a log, and a root for one that has none: the change is in the log, or it did not happen.

The new keys wait in keys/next/ with the record that brings them in. Once the record is committed they take
their places, and from the next publication on they sign. If that is interrupted, whoever next opens the log
or publishes finds keys/next/ and asks the database: is the record there, the change is completed, otherwise
it is dropped. Nobody signs meanwhile, because all this happens at the checkpoint's turn (`turns`).
"""

import shutil
from pathlib import Path

import msgspec
from sqlalchemy import select

from regalia.keyfile import (
    KeyUnusable,
    PrivateKey,
    generate_pair,
    load_pair,
    sync_folder,
    write_pair,
    write_private,
)
from regalia.ledger.keys import (
    Former,
    KeyFiles,
    Past,
    log_keys,
    public_keys,
    read_past,
    root_name,
    sign_statement,
)
from regalia.ledger.turns import Turns
from regalia.storage import Database
from regalia.storage.schema import entries, log_state
from regalia_verify.record import canonical
from regalia_verify.rotation import statement

_CHANGE = "change.json"


class Change(msgspec.Struct, frozen=True):
    """`next/change.json`: the record, and what `log.json` will say; the keys replaced, or the root added."""

    record: str
    former: tuple[str, ...] = ()
    root: tuple[str, ...] = ()


class KeyChanges:
    """Changes of one log's keys. What it does is done at the checkpoint's turn, by one process at a time."""

    def __init__(self, files: KeyFiles, origin: str, database: Database) -> None:
        self._files = files
        self._origin = origin
        self._database = database

    def prepare_rotation(self, root: KeyFiles, time: int) -> bytes:
        """Make new keys, durably, and the record that brings them in. Raises KeyUnusable."""
        files, origin = self._files, self._origin
        keys = log_keys(files, origin)
        if not keys.past.root:
            raise KeyUnusable("the log has no root yet: make one with `regalia keys root`")
        root_pair = load_pair(root.ed25519, root.mldsa44)
        if tuple(key.encode() for key in public_keys(root_pair, root_name(origin))) != keys.past.root:
            raise KeyUnusable(f"the keys in {root.ed25519.parent} are not this log's root")
        pair = generate_pair()
        record: dict[str, object] = {
            "v": 1,
            "kind": "log.key_rotated",
            "time": time,
            "origin": origin,
            "keys": [key.encode() for key in public_keys(pair, origin)],
        }
        message = statement(record)
        record["signatures"] = {
            "log": sign_statement(load_pair(files.ed25519, files.mldsa44), message),
            "root": sign_statement(root_pair, message),
        }
        former = tuple(key.encode() for key in keys.current)
        return self._announce(Change(canonical(record).decode(), former=former), "log", pair)

    def prepare_root(self, time: int) -> bytes:
        """Make a root, durably, for a log without one, and the record that names it. Raises KeyUnusable."""
        if read_past(self._files).root:
            raise KeyUnusable("the log has a root already, and only one")
        pair = generate_pair()
        root = tuple(key.encode() for key in public_keys(pair, root_name(self._origin)))
        record = {
            "v": 1,
            "kind": "log.root_added",
            "time": time,
            "origin": self._origin,
            "root": list(root),
        }
        return self._announce(Change(canonical(record).decode(), root=root), "root", pair)

    def settle(self) -> None:
        """Complete the change whose record is in the log; drop the one whose record is not."""
        waiting = self._files.next
        if not waiting.exists():
            return
        change = _read(waiting / _CHANGE)
        index = None if change is None else self._find(change.record.encode())
        if change is not None and index is not None:
            self._complete(change, index)
        shutil.rmtree(waiting)
        sync_folder(waiting.parent)

    def _announce(self, change: Change, name: str, pair: tuple[PrivateKey, PrivateKey]) -> bytes:
        waiting = self._files.next
        waiting.mkdir(mode=0o700)
        fresh = KeyFiles.under(waiting, name)
        write_pair(fresh.ed25519, fresh.mldsa44, pair)
        write_private(waiting / _CHANGE, msgspec.json.encode(change))
        sync_folder(waiting.parent)
        return change.record.encode()

    def _find(self, record: bytes) -> int | None:
        """Where the record is among the newest rows, once whatever is being committed is committed."""
        with self._database.write() as connection:
            noted = connection.execute(select(log_state.c.published_size).with_for_update()).scalar_one()
            newest = select(entries.c.idx).where(entries.c.idx >= noted, entries.c.leaf == record)
            return connection.execute(newest).scalar_one_or_none()

    def _complete(self, change: Change, index: int) -> None:
        """Put everything in its place; what is there already stays. The change itself goes last."""
        past = read_past(self._files)
        if change.root:
            past = msgspec.structs.replace(past, root=change.root)
        elif all(former.last != index for former in past.former):
            past = msgspec.structs.replace(past, former=(*past.former, Former(index, change.former)))
        write_past(self._files, past)
        waiting = self._files.next
        for key in sorted(waiting.glob("*.pem")):  # the private halves of former keys are gone with this
            key.replace(waiting.parent / key.name)
        sync_folder(waiting.parent)


def settle_interrupted(data_dir: Path, files: KeyFiles, origin: str, database: Database) -> None:
    """What must come before the keys are used: a change that was interrupted is completed or dropped."""
    if files.next.exists():
        with Turns(data_dir / "run").checkpoint():
            KeyChanges(files, origin, database).settle()


def write_past(files: KeyFiles, past: Past) -> None:
    """Replace `log.json`, durably."""
    draft = files.past.with_suffix(".new")
    draft.unlink(missing_ok=True)
    write_private(draft, msgspec.json.encode(past))
    draft.replace(files.past)
    sync_folder(files.past.parent)


def _read(path: Path) -> Change | None:
    """The change, None if it was interrupted before it was whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Change)
    except FileNotFoundError:
        return None
