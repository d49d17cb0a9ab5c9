"""Receipts: a call's outcome, its proof of inclusion in the published log, and what opens it.

Built from the published files as anyone could, and checked before they are handed out. Full tiles are
immutable, so what is read stays cached.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from regalia.clock import call_ms
from regalia.ledger.contents import Contents
from regalia.ledger.entry import Part
from regalia.ledger.errors import Archived, CallOpen, LogDamaged, ReceiptNotFound
from regalia.ledger.folder import AwayError, LogFolder
from regalia.ledger.journal import Published
from regalia.ledger.reader import Reader
from regalia.ledger.writing import encode_extra, encode_proof, inclusion_proof
from regalia.storage import Database
from regalia.vault import ContentErased
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.merkle import leaf_hash, node_hash, verify_inclusion
from regalia_verify.receipt import Opening, TlogProof
from regalia_verify.record import PARTS, commit
from regalia_verify.source import tile_of_node, tile_width

CACHED_TILES = 512
_decode_record = msgspec.json.Decoder(dict[str, Any]).decode


class FinishedCall(msgspec.Struct, frozen=True):
    """Where a call's two records are."""

    call: str
    project: str
    admitted: int
    outcome: int
    row: bytes | None
    """The outcome's entry, if it had not left the database."""
    erasure: int | None = None
    """Where the record is by which its contents may have been erased."""

    @property
    def newest(self) -> int:
        """The last entry that the receipt proves."""
        return self.outcome if self.erasure is None else max(self.outcome, self.erasure)


class Receipts:
    """Finds calls and builds their receipts. Blocking; safe to use from several threads."""

    def __init__(
        self, database: Database, folder: LogFolder, contents: Contents, rotations: Callable[[], list[int]]
    ) -> None:
        """`rotations` gives the indices of the records that rotated the log's keys."""
        self._rotations = rotations
        self._reader = Reader(database)
        self._folder = folder
        self._contents = contents
        self._nodes = lru_cache(CACHED_TILES)(self._read_nodes)

    def find(self, call: str, project: str | None) -> FinishedCall:
        """The call, if it is the project's (None: anyone's) and has an outcome."""
        rows = self._reader.select(self._reader.sql.finished, call)
        if not rows or (project is not None and rows[0][0] != project):
            raise ReceiptNotFound(f"there is no call {call[:64]}")
        owner, admitted, outcome, leaf = rows[0]
        if outcome is None:
            raise CallOpen(f"{call} has no outcome yet: ask again when its answer has ended")
        at = call_ms(call)
        erased = self._reader.select(self._reader.sql.erasure, admitted, owner, at, call, owner, at, at)
        return FinishedCall(call, owner, admitted, outcome, leaf, erased[0][0] if erased else None)

    def build(self, call: FinishedCall, published: Published) -> str:
        """The receipt against a published checkpoint that covers `call.newest`."""
        entry, hashes = self._prove(call.outcome, call.row, published)
        rotations = [
            (index, *self._prove(index, self._row(index), published))
            for index in self._rotations()
            if index < published.size
        ]
        openings, erasure = self._openings(call, entry), None
        if call.erasure is not None and _decode_record(entry).keys() & PARTS - openings.keys():
            erasure = self._erasure(call.erasure, published)
        extra = encode_extra(entry, openings, erasure, rotations)
        return encode_proof(TlogProof(call.outcome, hashes, published.note, extra))

    def contents(self, call: FinishedCall) -> list[Part]:
        """What was said in the call, as far as it is not erased."""
        return self._parts(call)

    def _prove(self, index: int, row: bytes | None, published: Published) -> tuple[bytes, tuple[bytes, ...]]:
        """An entry and its proof, from the row in the database if there is one."""
        try:
            entry = row if row is not None else self._folder.read_entry(index)
            hashes = inclusion_proof(index, published.size, self._node_at(published.size))
            verify_inclusion(index, published.size, leaf_hash(entry), hashes, published.root)
        except AwayError as error:
            raise Archived(f"entry {index} can't be proved now: {error}") from error
        except (FormatError, NotVerified, OSError) as error:
            raise LogDamaged(f"entry {index} can't be proved from the published log: {error}") from error
        return entry, tuple(hashes)

    def _erasure(self, index: int, published: Published) -> str:
        """The proof that the contents were erased on the record."""
        entry, hashes = self._prove(index, self._row(index), published)
        return encode_proof(TlogProof(index, hashes, published.note, encode_extra(entry, {})))

    def _row(self, index: int) -> bytes | None:
        """The entry, if it had not left the database."""
        rows = self._reader.select(self._reader.sql.leaves, index, index + 1)
        return rows[0][0] if rows else None

    def _openings(self, call: FinishedCall, entry: bytes) -> dict[str, Opening]:
        """The openings of the outcome's commitments, each compared with its commitment."""
        record = _decode_record(entry)
        openings = {}
        for part in self._parts(call):
            if part.name not in PARTS or part.name not in record:
                continue
            if commit(part.name, part.salt, part.data) != record[part.name]:
                raise LogDamaged(f"the stored {part.name} of {call.call} is not what its record commits to")
            openings[part.name] = Opening(part.salt, part.data if part.name == "tokens" else None)
        return openings

    def _parts(self, call: FinishedCall) -> list[Part]:
        rows = self._reader.select(self._reader.sql.parts, call.admitted, call.outcome)
        found: list[Part] = []
        for phase, key, data in rows:
            with suppress(ContentErased):  # then the receipt comes without
                found += self._contents.parts(call.project, call.call, phase, bytes(key), bytes(data))
        return found

    def _node_at(self, size: int) -> Callable[[int, int], bytes]:
        """Reads nodes of the tree of `size` entries."""

        def node(level: int, index: int) -> bytes:
            tile_level, n, first, count = tile_of_node(level, index)
            height = count.bit_length() - 1
            return self._nodes(tile_level, n, tile_width(tile_level, n, size))[height][first >> height]

        return node

    def _read_nodes(self, level: int, n: int, width: int) -> list[list[bytes]]:
        """All complete subtrees within a tile, by height above the tile's own hashes."""
        rows = [self._folder.read_tile(level, n, width)]
        while len(rows[-1]) > 1:
            below = rows[-1]
            rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
        return rows
