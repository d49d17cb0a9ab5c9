"""Whatever a log and its messengers try, a witness never vouches for two histories."""

import shutil
import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from regalia.witness.errors import Refused
from regalia.witness.request import AddCheckpoint
from regalia.witness.witness import Witness
from regalia_verify.merkle import EMPTY_ROOT, root_hash
from regalia_verify.note import verify
from witness.witnessing import Growing, a_log, a_witness

sizes = st.integers(0, 24)


class WitnessMachine(RuleBasedStateMachine):
    """Two histories under one key, arbitrary requests, crashes; the model is what has been cosigned."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.honest = a_log(24)
        self.forked = self.honest.fork(9, 15)
        self.witness: Witness = a_witness(self.folder / "w", self.honest)
        self.witness._book._connection.execute("PRAGMA synchronous=OFF")  # durability is tested elsewhere
        self.size, self.root = 0, EMPTY_ROOT
        self.cosigned: dict[int, bytes] = {}
        self.equivocated = False

    def teardown(self) -> None:
        self.witness.close()
        shutil.rmtree(self.folder)

    @rule(size=sizes, forked=st.booleans())
    def ask_from_the_latest_size(self, size: int, forked: bool) -> None:
        log = self.forked if forked else self.honest
        if size >= self.size:
            self._ask(log, log.request(self.size, size))

    @rule(old=sizes, size=sizes, forked=st.booleans())
    def ask_from_any_size(self, old: int, size: int, forked: bool) -> None:
        log = self.forked if forked else self.honest
        if old <= size:
            self._ask(log, log.request(old, size))

    @rule(old=sizes, size=sizes, of=sizes, to=sizes, forked=st.booleans())
    def ask_with_another_proof(self, old: int, size: int, of: int, to: int, forked: bool) -> None:
        log = self.forked if forked else self.honest
        proof = self.honest.request(min(of, to), max(of, to)).proof
        self._ask(log, msgspec.structs.replace(log.request(0, size), old=old, proof=proof))

    @rule()
    def die_and_start_again(self) -> None:
        self.witness.close()
        self.witness = Witness.open(self.folder / "w")
        self.witness._book._connection.execute("PRAGMA synchronous=OFF")

    def _ask(self, log: Growing, request: AddCheckpoint) -> None:
        size, root = request.checkpoint.size, request.checkpoint.root
        if self.cosigned.get(size, root) != root:
            self.equivocated = True
        extends = self.size <= size and self._root(log, self.size) == self.root
        honest = request.proof == log.request(min(request.old, size), size).proof
        expected = request.old == self.size and extends and honest
        try:
            signatures = self.witness.cosign(AddCheckpoint.parse(request.encode()))
        except Refused as refusal:
            assert not expected, refusal
            assert refusal.status in {400, 409, 422}
            assert refusal.size in {None, self.size}
            return
        assert expected
        for signature, key in zip(signatures, self.witness.keys, strict=True):
            verify(request.note.text, signature, key)
        self.size, self.root = size, root
        self.cosigned[size] = root

    @staticmethod
    def _root(log: Growing, size: int) -> bytes:
        return root_hash(log.tree(size))

    @invariant()
    def everything_cosigned_is_one_history(self) -> None:
        histories = [
            {size for size, root in self.cosigned.items() if self._root(log, size) == root}
            for log in (self.honest, self.forked)
        ]
        assert set(self.cosigned) in histories

    @invariant()
    def the_book_agrees(self) -> None:
        [(_, entry)] = self.witness.logs()
        known = (entry.checkpoint.size, entry.checkpoint.root) if entry else (0, EMPTY_ROOT)
        assert known == (self.size, self.root)

    @invariant()
    def an_equivocation_is_kept(self) -> None:
        kinds = {case.kind for _, case in self.witness.evidence.cases()}
        assert ("equivocation" in kinds) == self.equivocated


TestWitnessMachine = WitnessMachine.TestCase
TestWitnessMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
