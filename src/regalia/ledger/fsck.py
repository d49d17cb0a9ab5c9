"""Database, bundles, tiles, checkpoint, call index and vault, checked against each other.

The signed checkpoint decides: entries are right if their tree has its root. What the root vouches for can be
derived again (tiles and bundles), and so can the spans in which buckets' contents are looked for (from the
contents); other rows, contents, keys and signatures can't be, and are never touched.
"""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from regalia.errors import RegaliaError
from regalia.ledger.archive import is_away
from regalia.ledger.contents import open_vault
from regalia.ledger.errors import KeyUnusable, LogDamaged
from regalia.ledger.folder import LogFolder
from regalia.ledger.fsck_keeping import Kept, LoggedRecord, misfiled, unexplained
from regalia.ledger.keeping import declared_minimum
from regalia.ledger.keys import KeyFiles, log_keys
from regalia.ledger.opening import own_checkpoint
from regalia.ledger.spans import outside, widen
from regalia.ledger.tree import Edge, Tile
from regalia.storage import Database
from regalia.storage.schema import calls, entries, log_state
from regalia_verify.errors import FormatError
from regalia_verify.merkle import leaf_hash
from regalia_verify.note import Checkpoint
from regalia_verify.source import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    entries_path,
    parse_bundle,
    tile_path,
    tile_width,
)

MAX_TOLD = 1000
LEFT_S = 60


class Disagreement(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, what, and whether it was or can be derived from the rest."""

    where: str
    problem: str
    derivable: bool = False
    repaired: bool = False


class Checked(msgspec.Struct, frozen=True):
    """What was looked at, and everything that disagrees (the first thousand of it)."""

    size: int
    published: int
    calls: int
    found: list[Disagreement]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return all(one.repaired for one in self.found)


_record = msgspec.json.Decoder(LoggedRecord).decode


def check_log(
    data_dir: Path, database: Database, origin: str, keys: KeyFiles, root_key: str, *, repair: bool = False
) -> Checked:
    """Check everything; with `repair` write tiles and bundles again, and widen spans, that are wrong.

    While servers run only what is published is compared, which does not change; repair with them stopped.
    """
    return _Check(data_dir, database, origin, keys, repair).run(root_key)


class _Check:
    def __init__(self, data_dir: Path, database: Database, origin: str, keys: KeyFiles, repair: bool) -> None:
        self._data_dir = data_dir
        self._database = database
        self._origin = origin
        self._keys = keys
        self._repair = repair
        self._folder = LogFolder(data_dir / "log")
        self._found: list[Disagreement] = []
        self._mend: list[tuple[int, Callable[[], None]]] = []  # place in `_found`, and how
        self._admitted: dict[str, tuple[int, str]] = {}  # index, the project's pseudonym
        self._outcomes: dict[str, int] = {}
        self._kept = Kept()
        self._away: set[int] = set()  # bundles that are in an archive elsewhere
        self._minimum = 0

    def run(self, root_key: str) -> Checked:
        checkpoint = self._checkpoint()
        size = self._check_head(checkpoint)
        counted = 0
        if checkpoint is not None:
            if self._check_tree(checkpoint):
                for place, mend in self._mend if self._repair else ():
                    mend()
                    self._found[place] = msgspec.structs.replace(self._found[place], repaired=True)
                self._folder.sync()
            else:
                self._found = [msgspec.structs.replace(one, derivable=False) for one in self._found]
            counted = self._check_calls(checkpoint.size)
            self._check_kept(checkpoint.size, size)
        self._check_buckets()
        self._check_vault(root_key)
        self._folder.close()
        told = sorted(self._found, key=lambda one: one.repaired)[:MAX_TOLD]  # what is left to do comes first
        return Checked(size, checkpoint.size if checkpoint else 0, counted, told)

    def _say(self, where: str, problem: str, mend: Callable[[], None] | None = None) -> None:
        if mend is not None:
            self._mend.append((len(self._found), mend))
        self._found.append(Disagreement(where, problem, derivable=mend is not None))

    def _checkpoint(self) -> Checkpoint | None:
        if self._keys.next.exists():
            self._say("keys/next", "a change of the log's keys was interrupted: the next start settles it")
        try:
            note = self._folder.read_checkpoint()
            if note is None:
                self._say("log/checkpoint", "is missing")
                return None
            return own_checkpoint(note, self._folder.root, self._origin, log_keys(self._keys, self._origin))
        except (LogDamaged, KeyUnusable, OSError, UnicodeDecodeError) as error:
            self._say("log/checkpoint", str(error))
            return None

    def _check_head(self, checkpoint: Checkpoint | None) -> int:
        """The head, and that rows follow each other up to it; the committed size."""
        rows = select(func.min(entries.c.idx), func.max(entries.c.idx), func.count())
        with self._database.read() as connection:
            size, noted = connection.execute(select(log_state.c.size, log_state.c.published_size)).one()
            self._minimum = declared_minimum(connection)
            oldest, newest, count = connection.execute(rows.where(entries.c.idx < size)).one()
        published = checkpoint.size if checkpoint else 0
        if size and newest != size - 1:
            self._say("database", f"its newest entry is {newest}, the head says {size - 1}")
        if count and count != newest - oldest + 1:
            self._say(
                "database", f"{newest - oldest + 1 - count} entries between {oldest} and {newest} are missing"
            )
        if count and oldest > published:
            self._say("database", f"the entries {published} to {oldest - 1} are neither published nor rows")
        if published > size:
            self._say(
                "database", f"holds {size} entries, {published} are published: it is older than the log"
            )
        if noted > published:
            self._say(
                "log/checkpoint", f"covers {published} entries, {noted} have been published: it is older"
            )
        return int(size)

    def _check_tree(self, checkpoint: Checkpoint) -> bool:
        """Every bundle and tile; whether what they hold together has the checkpoint's root."""
        edge, full = Edge(), 0
        for n in range(-(-checkpoint.size // TILE_WIDTH)):
            width = min(TILE_WIDTH, checkpoint.size - n * TILE_WIDTH)
            if self._is_away(n):
                new = self._take_archived(edge, n, checkpoint.size)
            else:
                leaves = self._check_bundle(n, width)
                new = None if leaves is None else edge.append(leaves)
            if new is None:
                return False
            for tile in new:
                self._check_tile(tile)
                full += 1
        for tile in edge.partial_tiles():
            self._check_tile(tile)
        if edge.root() != checkpoint.root:
            self._say(
                "log/checkpoint",
                f"its root is {checkpoint.root.hex()}, the entries give {edge.root().hex()}: "
                "nothing is repaired",
            )
            return False
        for path in sorted(self._folder.root.rglob("*.tmp")):
            if self._repair or _is_left(path):
                self._say(
                    str(path.relative_to(self._data_dir)), "was left by an interrupted write", path.unlink
                )
        return True

    def _is_away(self, n: int) -> bool:
        """Whether a bundle is in an archive that is not attached, as it may be below the minimum index."""
        return n < self._minimum // TILE_WIDTH and is_away(self._folder.root / entries_path(n))

    def _take_archived(self, edge: Edge, n: int, size: int) -> list[Tile] | None:
        """The tile above stands in for a bundle elsewhere: the checkpoint's root vouches for both."""
        self._away.add(n)
        over = n // TILE_WIDTH
        width = tile_width(1, over, size)
        try:
            return edge.append_subtree(self._folder.read_tile(1, over, width)[n % TILE_WIDTH])
        except (OSError, FormatError) as error:
            self._say(f"log/{tile_path(1, over, width)}", f"can't be read: {error}")
            return None

    def _check_bundle(self, n: int, width: int) -> list[bytes] | None:
        """A bundle against its rows and its tile; its leaf hashes, None where nothing has its entries."""
        name = f"log/{entries_path(n, width)}"
        filed, problem = self._filed(n, width)
        rows = self._rows(n * TILE_WIDTH, n * TILE_WIDTH + width)
        try:
            tile: list[bytes] | None = self._folder.read_tile(0, n, width)
        except (OSError, FormatError):
            tile = None
        choices = [choice for choice in (filed, rows) if choice is not None]
        if not choices:
            self._say(name, f"{problem}, and the database has no rows for it")
            return None
        right = next((choice for choice in choices if _hashes(choice) == tile), choices[-1])
        if filed != right:
            self._say(name, problem or "differs from the rows", lambda: self._folder.write_entries(n, right))
        if rows is not None and rows != right:
            first = next(i for i, (a, b) in enumerate(zip(rows, right, strict=True)) if a != b)
            self._say(
                "database", f"the row of entry {n * TILE_WIDTH + first} differs from the published entry"
            )
        self._note_calls(n * TILE_WIDTH, right)
        return _hashes(right)

    def _filed(self, n: int, width: int) -> tuple[list[bytes] | None, str]:
        """The bundle's file, or what is wrong with it. A full one stands in for a partial one."""
        for stored in sorted({width, TILE_WIDTH}):
            try:
                with (self._folder.root / entries_path(n, stored)).open("rb") as file:
                    return parse_bundle(file.read(MAX_BUNDLE_BYTES + 1), stored)[:width], ""
            except FileNotFoundError:
                continue
            except (OSError, FormatError) as error:
                return None, f"can't be read: {error}"
        return None, "is missing"

    def _rows(self, start: int, end: int) -> list[bytes] | None:
        query = (
            select(entries.c.leaf).where(entries.c.idx >= start, entries.c.idx < end).order_by(entries.c.idx)
        )
        with self._database.read() as connection:
            found = [bytes(leaf) for leaf in connection.execute(query).scalars()]
        return found if len(found) == end - start else None

    def _check_tile(self, tile: Tile) -> None:
        hashes = list(tile.hashes)
        name = f"log/{tile_path(tile.level, tile.n, len(hashes))}"
        try:
            same = self._folder.read_tile(tile.level, tile.n, len(hashes)) == hashes
            problem = "" if same else "is not the tree of its entries"
        except FileNotFoundError:
            archived = tile.level == 0 and tile.n < self._minimum // TILE_WIDTH
            problem = "" if archived and is_away(self._folder.root / tile_path(0, tile.n)) else "is missing"
        except (OSError, FormatError) as error:
            problem = f"can't be read: {error}"
        if problem:
            self._say(name, problem, lambda: self._folder.write_tile(tile.level, tile.n, hashes))

    def _note_calls(self, start: int, leaves: list[bytes]) -> None:
        for index, leaf in enumerate(leaves, start):
            try:
                record = _record(leaf)
            except msgspec.DecodeError as error:
                self._say(f"entry {index}", f"is not a record: {error}")
                continue
            self._kept.note(record)
            if record.kind == "call.admitted":
                self._admitted[record.call] = index, sys.intern(record.project)
            elif record.kind.startswith("call."):
                self._outcomes[record.call] = index

    def _check_calls(self, published: int) -> int:
        """The index of calls against the published entries; how many calls were compared."""
        counted = 0
        for call, admitted, outcome in self._indexed(published):
            counted += 1
            entry, _ = self._admitted.pop(call, (None, ""))
            if entry != admitted and admitted // TILE_WIDTH not in self._away:
                self._say(f"call {call}", f"entry {admitted} is not its admission")
            logged = self._outcomes.pop(call, None)
            read = outcome is not None and outcome < published and outcome // TILE_WIDTH not in self._away
            if read and logged != outcome:
                self._say(f"call {call}", f"entry {outcome} is not its outcome")
            if outcome is None and logged is not None:
                self._say(f"call {call}", f"has its outcome at {logged}, the database says that it is open")
        self._note_newest(published)
        projects = {call: project for call, (_, project) in self._admitted.items()}
        left = [(call, index) for call, (index, _) in self._admitted.items()]
        for call, index in [*left, *self._outcomes.items()]:
            if self._away and call not in projects:
                continue  # its admission, and so its project, is in the archive
            if not self._kept.index_may_be_gone(call, projects.get(call, "")):
                self._say(f"call {call}", f"entry {index} is not in the database's index of calls")
        return counted

    def _note_newest(self, published: int) -> None:
        """What a server that runs has removed from the index by a record that it has not published yet."""
        query = select(entries.c.leaf).where(entries.c.idx >= published).order_by(entries.c.idx)
        with self._database.read() as connection:
            for leaf in connection.execution_options(yield_per=1000).execute(query).scalars():
                try:
                    record = _record(bytes(leaf))
                except msgspec.DecodeError:  # what is published is checked, this will be
                    continue
                if record.kind == "retention.applied":
                    self._kept.note(record)

    def _check_kept(self, published: int, size: int) -> None:
        """Contents that are missing must have been erased on record; holds must be what the log says."""
        with self._database.read() as connection:
            for call in unexplained(connection, published):
                self._say(f"call {call}", "its contents are missing, and no erasure on record explains it")
            complete = published == size and not self._away
            for where, problem in self._kept.hold_problems(connection, complete=complete):
                self._say(where, problem)

    def _check_buckets(self) -> None:
        """Contents must be filed under the bucket they are sealed under, where erasing it looks for them."""
        with self._database.read() as connection:
            for index, problem in islice(misfiled(connection), MAX_TOLD):
                self._say(f"entry {index}", problem)
            found = outside(connection, MAX_TOLD)
        if found and self._repair:
            with self._database.write() as connection:
                widen(connection)
        for bucket, index, count in found:
            problem = f"{count} of its contents, the first at entry {index}, are outside of its noted span"
            told = Disagreement(f"bucket {bucket}", problem, derivable=True, repaired=self._repair)
            self._found.append(told)

    def _indexed(self, published: int) -> Iterator[tuple[str, int, int | None]]:
        query = select(calls.c.call, calls.c.admitted, calls.c.outcome).where(calls.c.admitted < published)
        with self._database.read() as connection:
            for row in connection.execution_options(yield_per=1000).execute(query):
                yield row.call, row.admitted, row.outcome

    def _check_vault(self, root_key: str) -> None:
        try:
            vault = open_vault(self._data_dir, self._database, root_key)
        except RegaliaError as error:
            self._say("vault", str(error))
            return
        try:
            for problem in vault.check():
                self._say("vault", problem)
        finally:
            vault.close()


def _is_left(temporary: Path) -> bool:
    """Whether nobody writes this file any more; a running server's are renamed within moments."""
    try:
        return time.time() - temporary.stat().st_mtime > LEFT_S
    except FileNotFoundError:
        return False


def _hashes(leaves: list[bytes]) -> list[bytes]:
    return [leaf_hash(leaf) for leaf in leaves]


__all__ = ["Checked", "Disagreement", "check_log"]
