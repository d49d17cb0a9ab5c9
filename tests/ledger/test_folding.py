"""Usage is the same before, while and after it is folded, whoever folds it and whatever stops it."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from sqlalchemy import event, func, select, text

from ledger_kit import ORIGIN, Site
from regalia.ledger import Settlement, folding
from regalia.ledger.batch import draft
from regalia.ledger.contents import Contents
from regalia.ledger.entry import Entry
from regalia.ledger.folding import COUNTS, DIMENSIONS, Folding
from regalia.ledger.log import Log
from regalia.ledger.statements import statements_for
from regalia.ledger.wire import Where
from regalia.storage import Database, open_database, upgrade
from regalia.storage.schema.metering import usage, usage_folding, usage_recent, usage_sums

NAMES = ("", "a", "B", "b", "ä", "_", "z z", "k-1", "k1", "K1", "中")
"""Databases do not agree on their order."""
WRITER = Path(__file__).with_name("folding_writer.py")
Total = Counter[tuple[str, ...]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PLANNED", 7), ("CHUNK", 3), ("CHUNKS", 2), ("REMOVED", 5), ("AGE_S", 0.0)):
        monkeypatch.setattr(folding, name, value)


class House:
    """A database to which batches are appended, and what must be in it."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database = database
        self.chance = chance
        self.size = 0
        self.expected: Total = Counter()
        self._connection = database.driver_connection()
        self._sql = statements_for(database)

    def settlement(self) -> Settlement:
        """An outcome of somebody's."""
        names = [self.chance.choice(NAMES) for _ in range(4)]
        day = self.chance.choice(("2026-11-21", "2026-11-22"))
        priced = self.chance.choice(("", "price"))
        read, cached, written, cost = (self.chance.randrange(1 << 40) for _ in range(4))
        return Settlement(
            day, names[0], names[1], names[2], names[3], "chat", "m", priced, priced and "EUR", read, cached,
            written, cost, energy=self.chance.choice((-1, 7)),
        )  # fmt: skip

    def append(self, count: int) -> None:
        """A batch of outcomes, as the ledger appends them."""
        entries = [Entry(b"{}", "outcome", f"c{n}", "p", settlement=self.settlement()) for n in range(count)]
        batch = draft(entries, "test", cast(Contents, None)).at(self.size)
        cursor = self._connection.cursor()
        cursor.execute(self._sql.begin)
        cursor.execute(self._sql.lock_head)
        cursor.executemany(self._sql.add_usage, batch.usage)
        cursor.execute(self._sql.advance, (self.size + count,))
        cursor.execute("COMMIT")
        self.size += count
        for entry in entries:
            one = cast(Settlement, entry.settlement)
            where = (one.day, one.project, one.key, one.user, one.route, one.model, one.price)
            energy = (1, one.energy) if one.energy >= 0 else (0, 0)
            counts = (1, one.input, one.cached, one.output, one.cost, *energy)
            for name, value in zip(COUNTS, counts, strict=True):
                self.expected[*where, one.organisation, name] += value

    def folder(self) -> Folding:
        """What a process folds with."""
        return Folding(self.database, threading.Lock())

    def found(self, table: Any = usage) -> Total:
        """What the database says."""
        total: Total = Counter()
        with self.database.read() as connection:
            for row in connection.execute(select(table)).mappings():
                for name in COUNTS:
                    total[*(row[column] for column in DIMENSIONS), name] += int(row[name])
        return total

    def rows(self, table: Any) -> int:
        with self.database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def fold_all(self) -> None:
        """Fold and remove until nothing is recent."""
        folder = self.folder()
        for _ in range(1000):
            folder.round(self.size)
            if not self.rows(usage_recent):
                return
        pytest.fail("it is never folded")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def house(database: Database) -> Any:
    seed = int(os.environ.get("REGALIA_FOLDING_SEED", random.randrange(1 << 32)))
    print(f"REGALIA_FOLDING_SEED={seed}")
    made = House(database, random.Random(seed))
    yield made
    made.close()


def test_at_every_moment_each_outcome_counts_once_whoever_folds(house: House) -> None:
    folders = [house.folder(), house.folder()]
    for _ in range(120):
        what = house.chance.random()
        if what < 0.3:
            house.append(house.chance.randint(1, 12))
        elif what < 0.4:
            folders[house.chance.randrange(2)] = house.folder()  # a process ends, and another one begins
        else:
            house.chance.choice(folders).round(house.size)
        assert house.found() == house.expected
    house.fold_all()
    assert house.found() == house.found(usage_sums) == house.expected


def test_stopped_at_any_statement_it_goes_on_and_nothing_is_lost_or_doubled(house: House) -> None:
    house.append(40)
    left = 0

    def stop(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InterruptedError

    event.listen(house.database.engine, "before_cursor_execute", stop)
    try:
        for statements in range(60):
            left, folder = statements, house.folder()
            with suppress(InterruptedError):
                for _ in range(4):
                    folder.round(house.size)
            left = 1 << 30
            assert house.found() == house.expected
            if statements % 10 == 9:
                house.append(5)
    finally:
        event.remove(house.database.engine, "before_cursor_execute", stop)
    house.fold_all()
    assert house.found(usage_sums) == house.expected


def test_a_fold_that_another_process_went_on_with_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "CHUNKS", 1)
    house.append(30)
    ours, theirs = house.folder(), house.folder()
    for folder in (ours, theirs):
        folder.round(house.size)  # the first round looks for rows to remove
    ours.round(house.size)
    for _ in range(3):
        theirs.round(house.size)
    before = house.found(usage_sums)
    ours.round(house.size)  # has sums that are folded by now
    assert house.found(usage_sums) == before
    assert house.found() == house.expected


def test_it_waits_for_many_calls_or_some_minutes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "AGE_S", 300.0)
    monkeypatch.setattr(folding, "ENTRIES", 50)
    now = 1000.0
    folder = Folding(house.database, threading.Lock(), monotonic=lambda: now)

    def folds() -> bool:
        before = house.rows(usage_recent)
        for _ in range(40):
            folder.round(house.size)
        return house.rows(usage_recent) < before

    house.append(3)
    assert folds()  # at the start: what another process may have left
    house.append(40)
    assert not folds()
    house.append(10)
    assert folds()
    house.append(1)
    assert not folds()
    now += 300
    assert folds()
    now += 300
    assert not folds()  # nothing came
    assert house.found(usage_sums) == house.expected


def test_whoever_reads_meanwhile_sees_each_outcome_once(house: House) -> None:
    done = threading.Event()
    wrong: list[tuple[int, int]] = []
    looks = 0
    both = text("SELECT size, (SELECT coalesce(sum(requests), 0) FROM usage) FROM log_state")

    def read() -> None:
        nonlocal looks
        while not done.is_set():
            with house.database.read() as connection:
                size, counted = connection.execute(both).one()
            looks += 1
            if size != counted:
                wrong.append((size, int(counted)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        folder = house.folder()
        for _ in range(40):
            house.append(9)
            folder.round(house.size)
    finally:
        done.set()
        reader.join()
    assert not wrong
    assert looks


def test_the_mark_never_goes_back(house: House) -> None:
    folder, last = house.folder(), (-1, -1)
    for _ in range(30):
        house.append(4)
        folder.round(house.size)
        with house.database.read() as connection:
            row = connection.execute(select(usage_folding.c.base, usage_folding.c.upto)).one()
        assert (row.base, row.upto) >= last
        assert row.base <= row.upto < house.size
        last = (row.base, row.upto)


def test_killed_while_it_appends_and_folds_the_usage_is_what_the_log_says(
    empty_database: Database, tmp_path: Path
) -> None:
    site = Site.make(tmp_path / "d")
    url = empty_database.engine.url.render_as_string(hide_password=False)
    if empty_database.is_sqlite:
        url = site.url
    database = open_database(url)
    upgrade(database)
    chance, folded = random.Random(), 0
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(site.data_dir), url, f"writer-{number}"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(WRITER.parent.parent)},
        )
        assert process.stdout is not None
        for _ in range(chance.randint(10, 60)):
            assert process.stdout.readline() == b"appended\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with database.read() as connection:
            leaves = connection.execute(text("SELECT leaf FROM entries")).scalars()
            records = [msgspec.json.decode(bytes(leaf)) for leaf in leaves]
            sums = [func.coalesce(func.sum(column), 0) for column in (usage.c.requests, usage.c.input)]
            counted = tuple(map(int, connection.execute(select(*sums)).one()))
            folded = connection.execute(select(usage_folding.c.base)).scalar_one()
        answered = [record for record in records if record["kind"] == "call.answered"]
        assert counted == (len(answered), sum(record["usage"]["input"] for record in answered))
    assert folded > 0
    database.close()
    log = Log.open(Where(site.data_dir, url, "after", ORIGIN, site.keys))
    log.fold_usage()
    log.close()


def test_a_fold_that_fails_is_told_once_and_stops_nothing(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    with site.log() as log:
        with site.database().write() as connection:
            connection.execute(text("ALTER TABLE usage_folding RENAME TO usage_away"))
        for _ in range(3):
            log.fold_usage()
        told = capfd.readouterr().err
        assert told.count("usage can't be folded") == 1
        assert "usage_folding" in told
        assert "SELECT" not in told
        with site.database().write() as connection:
            connection.execute(text("ALTER TABLE usage_away RENAME TO usage_folding"))
        log.fold_usage()
    assert not capfd.readouterr().err
