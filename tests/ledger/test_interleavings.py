"""Whatever the order of appends, publications, crashes and receipts: every receipt stays verifiable."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_kit import Call, Site, event, publish, receipt, shown
from regalia.ledger import Entry
from regalia.ledger.log import Log


class Interleavings(RuleBasedStateMachine):
    """A log against a model of it: the records in order, and the calls by state."""

    @initialize()
    def start(self) -> None:
        self.scratch = Path(tempfile.mkdtemp())
        self.lives = 0
        self.site = Site.make(self.scratch / "d")
        self.log = Log.open(self.site.where("life-0"))
        self.records: list[bytes | None] = [None]  # None: a record of the ledger's own
        self.open: list[Call] = []
        self.closed: list[Call] = []
        self.receipts: list[tuple[str, Call]] = []
        self.checkpoints: list[bytes] = []

    @rule(calls=st.integers(1, 40), events=st.sampled_from([0, 1, 100, 300]))
    def admit(self, calls: int, events: int) -> None:
        admitted = [Call.new(size=14) for _ in range(calls)]
        self._append([*(call.admission() for call in admitted), *(event(n) for n in range(events))])
        self.open += admitted

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.open)))
        finished, self.open = self.open[:count], self.open[count:]
        self._append([call.outcome() for call in finished])
        self.closed += finished

    @rule()
    def publish(self) -> None:
        publish(self.log)
        assert self.log.published.size == len(self.records)
        self.checkpoints.append((self.site.folder / "checkpoint").read_bytes())

    @precondition(lambda self: self.closed)
    @rule(data=st.data())
    def ask_for_a_receipt(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.closed))
        self.receipts.append((receipt(self.log, call.id, call.project), call))

    @rule(clean=st.booleans())
    def crash(self, clean: bool) -> None:
        """Go on from a copy of the disk, taken while the log was open, or after it was closed."""
        if clean:
            self.log.close()
        self.lives += 1
        copy = self.site.copy(self.scratch / f"d{self.lives}")
        if not clean:
            self.log.close()
        self.site = copy
        self.log = Log.open(copy.where(f"life-{self.lives}"))
        self.records += [None] * len(self.open)  # call.aborted
        self.open = []
        assert self.log.size == len(self.records)

    @invariant()
    def the_size_is_as_expected(self) -> None:
        if hasattr(self, "log"):
            assert self.log.size == len(self.records)

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        publish(self.log)
        self.site.verify(closed=not self.open)
        for text, call in self.receipts:
            self.site.verify_receipt(text, call)
        for call in self.closed:
            text = receipt(self.log, call.id, call.project)
            self.site.verify_receipt(text, call)
            assert self.records[shown(text).index] == shown(text).entry
        for note in self.checkpoints:  # nothing that was ever signed is contradicted
            self.site.verify_extends(note)
        self.log.close()
        shutil.rmtree(self.scratch)

    def _append(self, entries: list[Entry]) -> None:
        expected = range(len(self.records), len(self.records) + len(entries))
        assert self.log.append(entries) == list(expected)
        self.records += [entry.record for entry in entries]


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
