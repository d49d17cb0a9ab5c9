"""A batch is sealed before the log is locked, and no erasure that comes between loses or spares anything."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

import pytest

from ledger_kit import Call, event
from regalia.clock import now_ms
from regalia.ledger import LedgerInvariantError, journal
from regalia.ledger.batch import Draft
from regalia.ledger.contents import Contents, ident, open_vault
from regalia.ledger.entry import Entry
from regalia.ledger.erasing import Eraser, Erasure, Rows, Scope
from regalia.ledger.journal import Journal
from regalia.storage import Database, open_database
from regalia.vault import ContentErased, Sealed, VaultError
from regalia.vault.erasure import erase_project, resume

PROJECT = "project-1"


class Host:
    """One process's hold on a log: a journal, a vault, and what erases, on connections of their own."""

    def __init__(self, data_dir: Path, url: str, name: str) -> None:
        self.database = open_database(url)
        self.vault = open_vault(data_dir, self.database, "")
        self.journal = Journal(self.database, name, Contents(self.vault, now_ms))
        self.eraser = Eraser(self.database, self.vault, Lock(), self.journal.transact, now_ms)

    def append(self, *entries: Entry) -> list[int]:
        """Where they are."""
        results = self.journal.append(entries)
        assert all(isinstance(result, int) for result in results)
        return [result for result in results if isinstance(result, int)]

    def erase(self, scope: Scope, target: str = PROJECT) -> Erasure:
        """Erase, on the record."""
        name = "erasure_" + os.urandom(8).hex()
        wanted = Erasure(name, scope, target, now_ms() * 2, "test", "b" * 32, now_ms(), ("0" * 32,))
        return self.eraser.perform(wanted)

    def recorded(self, erasure: Erasure) -> int:
        """Where the record of an erasure is."""
        sql = f"SELECT record FROM erasures WHERE id = '{erasure.id}'"
        with self.database.read() as connection:
            return int(connection.exec_driver_sql(sql).scalar_one())

    def opens(self, after: int = -1) -> dict[int, bool]:
        """Of each stored content behind an index, whether it opens, or was erased; all else fails."""
        found = {}
        sql = f"SELECT idx, call, phase, key, data FROM contents WHERE idx > {after}"
        with self.database.read() as connection:
            rows = connection.exec_driver_sql(sql).all()
        for index, call, phase, key, data in rows:
            try:
                self.vault.open_sealed(PROJECT, ident(call, phase), Sealed(bytes(key), bytes(data)))
            except ContentErased:
                found[index] = False
            else:
                found[index] = True
        return found

    def close(self) -> None:
        """Let go of all connections."""
        self.journal.close()
        self.vault.close()
        self.database.close()


Hosts = Callable[[], Host]


@pytest.fixture
def hosts(database: Database, tmp_path: Path) -> Iterator[Hosts]:
    """A factory of hosts of one log, whose vault is SQLite's own, or shared over PostgreSQL."""
    made: list[Host] = []
    (tmp_path / "keys").mkdir()

    def host() -> Host:
        url = database.engine.url.render_as_string(hide_password=False)
        made.append(Host(tmp_path, url, f"host-{len(made)}"))
        return made[-1]

    yield host
    for one in made:
        one.close()


class Between:
    """Does something once, when a batch has been sealed and the log is not yet locked; counts sealings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drafted = 0
        self.then: Callable[[], object] | None = None
        original: Callable[..., Draft] = vars(journal)["draft"]

        def draft(*args: object, **how: object) -> Draft:
            made = original(*args, **how)
            self.drafted += 1
            then, self.then = self.then, None
            if then is not None:
                then()
            return made

        monkeypatch.setattr(journal, "draft", draft)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    return Between(monkeypatch)


def test_a_batch_is_sealed_once_where_no_key_was_retired(hosts: Hosts, between: Between) -> None:
    first, second = hosts(), hosts()
    first.append(Call.new().admission())  # sees that another vault was opened
    drafted = between.drafted
    between.then = lambda: second.append(event())
    call = Call.new()
    assert first.append(call.admission(), event()) == [2, 3], "what the other one appended is before it"
    assert between.drafted == drafted + 2, "one for each host"
    assert first.append(call.outcome()) == [4]
    assert between.drafted == drafted + 3
    assert second.opens() == {0: True, 2: True, 4: True}


@pytest.mark.parametrize("scope", ["project", "before", "call"])
def test_what_is_stored_behind_an_erasure_is_sealed_under_other_keys(
    hosts: Hosts, between: Between, scope: Scope
) -> None:
    """The whole erasure, key destroyed and all, passes between sealing and locking."""
    first, second = hosts(), hosts()
    old = Call.new()
    first.append(old.admission(), old.outcome())
    done: list[Erasure] = []
    between.then = lambda: done.append(second.erase(scope, old.id if scope == "call" else PROJECT))
    late = Call.new()
    indices = first.append(late.admission(), late.outcome())
    assert min(indices) > second.recorded(done[0])
    for host in (first, second):
        found = host.opens()
        assert [found[index] for index in indices] == [True, True]
        assert not any(opens for index, opens in found.items() if index not in indices)


def test_the_pseudonyms_of_end_users_are_made_again_as_well(hosts: Hosts, between: Between) -> None:
    first, second = hosts(), hosts()

    def admission() -> Entry:
        call = Call.new()
        record = call.admission().record
        return Entry(record, "admitted", call.id, PROJECT, call.admission().parts, ("amina",))

    first.append(admission())
    before = first.vault.subject(PROJECT, "amina")
    between.then = lambda: second.erase("project")
    first.append(admission())
    after = second.vault.subject(PROJECT, "amina")
    with first.database.read() as connection:
        stored = connection.exec_driver_sql("SELECT subject FROM subjects ORDER BY call").scalars().all()
    assert bytes(stored[-1]) == after != before


def test_nothing_new_gets_into_a_bucket_whose_replacement_was_interrupted(
    hosts: Hosts, between: Between
) -> None:
    first, second = hosts(), hosts()
    for _ in range(3):
        first.append(Call.new().admission())
    (bucket,) = (one.id for one in second.vault.buckets())
    rows = Rows(second.database, Lock())

    def begin() -> None:
        rewrap = second.vault.replace(bucket, now_ms())
        assert rows.move(bucket, frozenset(), rewrap, 2) == 2

    between.then = begin
    (late,) = first.append(Call.new().admission())
    query = f"SELECT bucket FROM contents WHERE idx = {late}"
    with first.database.read() as connection:
        of_late = connection.exec_driver_sql(query).scalar_one()
    assert of_late not in (bucket, *second.vault.replacing().values())
    assert resume(second.vault, rows, now_ms()) == 1
    assert bucket not in {one.id for one in second.vault.buckets()}
    assert set(first.opens().values()) == set(second.opens().values()) == {True}


def test_what_is_checked_before_a_key_is_retired_is_in_the_log_before_the_erasures_record(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is retired while a batch under it is being stored: the erasure's record waits for that."""
    first, second = hosts(), hosts()
    first.append(Call.new().admission())
    retired, records, erased = threading.Event(), list[int](), list[int]()

    def announce() -> None:
        retired.set()
        records.append(second.journal.transact(lambda cursor, index: event().record))

    def erase() -> None:
        erased.append(erase_project(second.vault, PROJECT, announce, now_ms()))

    erasing = threading.Thread(target=erase)
    insert = first.journal._insert

    def inserting(*args: object) -> None:
        erasing.start()
        assert retired.wait(60)
        insert(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(first.journal, "_insert", inserting)
    (index,) = first.append(Call.new().admission())
    erasing.join(60)
    assert (erased, records) == ([1], [index + 1])
    assert first.opens() == {0: False, index: False}


def test_what_can_be_held_of_a_batch_is_sealed_anew_after_an_erasure(hosts: Hosts, between: Between) -> None:
    first, second = hosts(), hosts()
    twice, once = Call.new(), Call.new()
    first.append(twice.admission())
    between.then = lambda: second.erase("project")
    refused, index = first.journal.append([twice.admission(), once.admission()])
    assert isinstance(refused, LedgerInvariantError)
    assert isinstance(index, int)
    assert first.opens(after=1)[index]


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_while_projects_are_erased_all_that_is_stored_later_opens(hosts: Hosts) -> None:
    eraser, writers = hosts(), [hosts(), hosts()]
    eraser.append(Call.new().admission())
    ended, failures = threading.Event(), list[BaseException]()

    def write(host: Host) -> None:
        try:
            while not ended.is_set():
                host.append(*(Call.new().admission() for _ in range(8)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(host,)) for host in writers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            record = eraser.recorded(eraser.erase("project"))
            eraser.append(Call.new().admission())
            later = eraser.opens(after=record)
            assert later
            assert all(later.values())
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_vault_that_can_not_be_asked_stores_nothing(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hosts()
    first.append(event())

    def gone(*_: object) -> bool:
        raise VaultError("the vault's keys can't be read")

    monkeypatch.setattr(first.vault, "unchanged", gone)
    with pytest.raises(journal.JournalError, match="the vault"):
        first.journal.append([Call.new().admission()])
    monkeypatch.undo()
    assert first.append(Call.new().admission()) == [1]
