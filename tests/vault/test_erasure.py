"""After an erasure no byte below the instance's folder brings the content back, and the rest still opens."""

import sqlite3
from collections.abc import Callable

import pytest

from regalia.vault import HOUR_MS, ContentErased, ErasureUnderWay, Sealed, VaultError, bucket_of, erasure
from regalia.vault.keychain import Keychain
from regalia.vault.keyslots import KeySlots
from regalia.vault.register import Register
from vault.content_table import files_containing
from vault.instances import NOW, Instance

SECRET = b"what a citizen said, and nobody else may know"


class Log:
    """What the ledger would have been told, and how the vault looked then."""

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.seen: list[object] = []
        self._look = look

    def __call__(self) -> None:
        self.seen.append(self._look())


def fill(instance: Instance, project: str = "alpha", count: int = 20, now: int = NOW) -> list[str]:
    calls = [f"call_{project}_{now}_{number:03}" for number in range(count)]
    for call in calls:
        instance.rows.seal(instance.vault, project, call, SECRET + call.encode(), now)
    return calls


def assert_opens(instance: Instance, project: str, calls: list[str]) -> None:
    for call in calls:
        assert instance.rows.open(instance.vault, project, call) == SECRET + call.encode()


def unwrappable(instance: Instance, remnant: Sealed, ident: bytes) -> list[str]:
    """What a thief with every file and the root key opens `remnant` with: each bucket key there is."""
    register = Register(instance.folder / "keys" / "vault.db")
    slots = KeySlots(instance.folder / "keys" / "vault.keys", register.name)
    keychain = Keychain(register, slots, instance.root, instance.random)
    opened = []
    for bucket in register.kept_buckets():
        key = keychain.open_bucket(bucket).key
        for number in (bucket.id, bucket_of(remnant.key)):
            key.id = number
            key._prefix = b"\x01" + number.to_bytes(8, "big")
            key._aad = b"regalia/vault/data-key/v1\0" + key._prefix
            try:
                opened.append(key.open(ident, remnant).decode())
            except VaultError:
                continue
    register.close()
    slots.close()
    return opened


def test_nothing_that_was_said_and_no_key_is_ever_on_disk_in_the_clear(instance: Instance) -> None:
    fill(instance)
    instance.vault.subject("alpha", "user@example.org")
    assert instance.random.given
    assert files_containing(instance.folder, [SECRET, b"user@example.org", *instance.random.given]) == set()
    assert files_containing(instance.folder, instance.slots().values()) == {"vault.keys"}  # it would be found


def test_erasing_a_project_leaves_no_key_of_it_in_any_file(instance: Instance) -> None:
    erased, kept = fill(instance, "alpha"), fill(instance, "beta")
    subject = instance.vault.subject("alpha", "user-1")
    keys_before = instance.slots()
    log = Log(lambda: instance.rows.open(instance.vault, "alpha", erased[0]))
    assert erasure.erase_project(instance.vault, "alpha", log, NOW) == 2  # contents, references
    assert log.seen == [SECRET + erased[0].encode()]  # on record before it is gone
    gone = {key: wrapped for key, wrapped in keys_before.items() if key not in instance.slots()}
    assert len(gone) == 2
    assert files_containing(instance.folder, [*gone.values(), *instance.random.given]) == set()
    for call in erased:
        with pytest.raises(ContentErased):
            instance.rows.open(instance.vault, "alpha", call)
    assert instance.vault.subject("alpha", "user-1") != subject
    assert_opens(instance, "beta", kept)
    assert_opens(instance, "alpha", fill(instance, "alpha", 3, NOW + 1))  # the project goes on, with new keys


def test_tidying_up_after_a_project_removes_its_rows_and_bucket_keys(instance: Instance) -> None:
    fill(instance, "alpha")
    fill(instance, "alpha", now=NOW + HOUR_MS)
    kept = fill(instance, "beta")
    buckets = [bucket.id for bucket in instance.vault.buckets("alpha")]
    wrapped = [instance.slots()[bucket] for bucket in buckets]
    erasure.erase_project(instance.vault, "alpha", Log(), NOW)
    assert erasure.tidy(instance.vault, instance.rows, NOW) == 2
    assert erasure.tidy(instance.vault, instance.rows, NOW) == 0
    assert files_containing(instance.folder, wrapped) == set()
    assert instance.rows.calls() == set(kept)
    assert_opens(instance, "beta", kept)


def test_erasing_by_age_destroys_the_buckets_of_that_time(instance: Instance) -> None:
    old, new = fill(instance), fill(instance, now=NOW + HOUR_MS)
    doomed = [bucket.id for bucket in instance.vault.buckets(before_ms=NOW + HOUR_MS)]
    sealed = instance.rows.sealed(old[0])
    wrapped = [instance.slots()[bucket] for bucket in doomed]
    log = Log(lambda: instance.rows.open(instance.vault, "alpha", old[0]))
    erasure.erase_selected(instance.vault, instance.rows, doomed, {}, log, NOW)
    assert log.seen == [SECRET + old[0].encode()]
    assert files_containing(instance.folder, wrapped) == set()
    assert instance.rows.calls() == set(new)
    assert sealed is not None
    with pytest.raises(ContentErased):
        instance.vault.open_sealed("alpha", f"{old[0]}/outcome".encode(), sealed)
    assert_opens(instance, "alpha", new)


def test_erasing_single_calls_makes_their_remnants_useless_and_keeps_their_neighbours(
    instance: Instance,
) -> None:
    calls = fill(instance, count=700)  # more than move in one transaction
    elsewhere = fill(instance, "beta")
    erased = frozenset(calls[3::100])
    remnants = {call: instance.rows.sealed(call) for call in erased}
    (bucket,) = instance.vault.buckets("alpha")
    wrapped = instance.slots()[bucket.id]
    assert unwrappable(instance, remnants[calls[3]] or Sealed(b"", b""), f"{calls[3]}/outcome".encode())
    erasure.erase_calls(instance.vault, instance.rows, erased, Log(), NOW)
    assert files_containing(instance.folder, [wrapped]) == set()
    assert instance.rows.calls() == {*calls, *elsewhere} - erased
    assert_opens(instance, "alpha", sorted(set(calls) - erased))
    assert_opens(instance, "beta", elsewhere)
    for call, remnant in remnants.items():
        assert remnant is not None
        assert files_containing(instance.folder, [remnant.key])  # in a free page or the write-ahead log
        assert unwrappable(instance, remnant, f"{call}/outcome".encode()) == []
        with pytest.raises(ContentErased):
            instance.vault.open_sealed("alpha", f"{call}/outcome".encode(), remnant)


def test_what_is_sealed_after_an_erasure_is_in_another_bucket(instance: Instance) -> None:
    calls = fill(instance)
    erasure.erase_calls(instance.vault, instance.rows, frozenset(calls[:1]), Log(), NOW)
    later = fill(instance, now=NOW + 1)
    assert_opens(instance, "alpha", calls[1:] + later)
    assert not {bucket_of(key) for key in keys_of(instance, calls[1:])} & {
        bucket_of(key) for key in keys_of(instance, later)
    }


def keys_of(instance: Instance, calls: list[str]) -> list[bytes]:
    found = [instance.rows.sealed(call) for call in calls]
    return [sealed.key for sealed in found if sealed is not None]


def test_a_hold_can_keep_some_calls_of_a_bucket_that_is_due(instance: Instance) -> None:
    calls = fill(instance)
    same_call_later = calls[0]
    bucket = bucket_of(keys_of(instance, calls)[0])
    erased = frozenset(calls) - {calls[5]}
    erasure.erase_selected(instance.vault, instance.rows, [], {bucket: erased}, Log(), NOW)
    assert instance.rows.calls() == {calls[5]}
    assert_opens(instance, "alpha", [calls[5]])
    assert same_call_later not in instance.rows.calls()


def test_an_erasure_over_an_erased_project_deletes_what_is_left_of_it(instance: Instance) -> None:
    calls = fill(instance)
    erasure.erase_project(instance.vault, "alpha", Log(), NOW)
    erasure.erase_calls(instance.vault, instance.rows, frozenset(calls[:1]), Log(), NOW)
    assert instance.rows.calls() == set()
    assert instance.vault.replacing() == {}


def test_erasures_go_one_at_a_time(instance: Instance) -> None:
    calls = fill(instance)
    other = instance.open()
    with instance.vault.exclusively(), pytest.raises(ErasureUnderWay):
        erasure.erase_calls(other, instance.rows, frozenset(calls), Log(), NOW)
    assert_opens(instance, "alpha", calls)
    other.close()


def test_a_record_that_is_not_made_stops_the_erasure(instance: Instance) -> None:
    calls = fill(instance)
    bucket = bucket_of(keys_of(instance, calls)[0])

    def unavailable() -> None:
        raise sqlite3.OperationalError("disk full")

    attempts: list[Callable[[], object]] = [
        lambda: erasure.erase_project(instance.vault, "alpha", unavailable, NOW),
        lambda: erasure.erase_selected(instance.vault, instance.rows, [bucket], {}, unavailable, NOW),
        lambda: erasure.erase_calls(instance.vault, instance.rows, frozenset(calls), unavailable, NOW),
    ]
    for attempt in attempts:
        with pytest.raises(sqlite3.OperationalError):
            attempt()
    assert_opens(instance, "alpha", calls)
    assert_opens(instance, "alpha", fill(instance, now=NOW + 5))


def test_a_call_can_be_erased_from_a_bucket_that_others_were_still_moving_to(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fill(instance)
    monkeypatch.setattr(erasure, "ROWS", 5)
    (old,) = instance.vault.buckets()
    with instance.vault.exclusively():  # as an erasure begins that is interrupted
        rewrap = instance.vault.replace(old.id, NOW)
        assert instance.rows.move(old.id, frozenset(), rewrap, 5) == 5
    moved = next(call for call in calls if bucket_of(keys_of(instance, [call])[0]) != old.id)
    erasure.erase_calls(instance.vault, instance.rows, frozenset({moved}), Log(), NOW)
    assert_opens(instance, "alpha", [call for call in calls if call != moved])
    assert len({bucket_of(key) for key in keys_of(instance, calls)}) == 1
    assert len(instance.vault.buckets()) == 1


def test_a_damaged_neighbour_stops_the_erasure_by_name_until_it_is_erased_too(instance: Instance) -> None:
    calls, elsewhere = fill(instance), fill(instance, "beta")
    (key,) = keys_of(instance, calls[7:8])
    instance.rows.db.execute("UPDATE contents SET key = ? WHERE call = ?", (key[:-1] + b"\0", calls[7]))
    with pytest.raises(VaultError, match=calls[7]):
        erasure.erase_calls(instance.vault, instance.rows, frozenset(calls[:1]), Log(), NOW)
    erasure.erase_calls(instance.vault, instance.rows, frozenset(elsewhere[:1]), Log(), NOW)
    erasure.erase_calls(instance.vault, instance.rows, frozenset(calls[7:8]), Log(), NOW)
    erasure.erase_calls(instance.vault, instance.rows, frozenset(calls[:1]), Log(), NOW)
    assert instance.rows.calls() == {*calls, *elsewhere} - {calls[0], calls[7], elsewhere[0]}
    assert_opens(instance, "alpha", sorted(instance.rows.calls() & set(calls)))
    assert instance.vault.replacing() == {}


def test_erasing_a_project_takes_as_many_writes_for_many_records_as_for_few(instance: Instance) -> None:
    vault = instance.open(bucket_records=100)
    for project, count in [("small", 100), ("large", 5_000)]:
        for number in range(count):
            vault.seal(project, "standard", str(number).encode(), b"content", NOW)
    assert len(vault.buckets("large")) == 50
    for project in ("small", "large"):
        free = len(instance.slots())
        assert erasure.erase_project(vault, project, Log(), NOW) == 1
        assert free - len(instance.slots()) == 1
    vault.close()
