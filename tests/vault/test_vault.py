"""The vault as the ledger uses it: sealing, opening, buckets, several threads and processes."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from regalia.vault import (
    HOUR_MS,
    ContentErased,
    RootKeyError,
    Sealed,
    SecretRoot,
    Vault,
    VaultError,
    bucket_of,
)
from vault.instances import NOW, Instance


def seal(vault: Vault, content: bytes = b"content", project: str = "alpha", now: int = NOW) -> Sealed:
    return vault.seal(project, "standard", b"call/outcome", content, now)


def test_contents_open_again_after_a_restart(instance: Instance) -> None:
    contents = [os.urandom(length) for length in (0, 1, 1000, 1_000_000)]
    sealed = [seal(instance.vault, content) for content in contents]
    instance.vault.close()
    instance.vault = instance.open()
    assert [instance.vault.open_sealed("alpha", b"call/outcome", each) for each in sealed] == contents


def test_a_content_opens_only_for_its_project_and_record(instance: Instance) -> None:
    sealed = seal(instance.vault)
    for project, ident in [("beta", b"call/outcome"), ("alpha", b"call/admitted")]:
        with pytest.raises(VaultError):
            instance.vault.open_sealed(project, ident, sealed)


def test_projects_classes_and_hours_have_buckets_of_their_own(instance: Instance) -> None:
    vault = instance.vault
    first = seal(vault)
    assert bucket_of(seal(vault).key) == bucket_of(first.key)
    assert bucket_of(seal(vault, now=NOW + HOUR_MS).key) != bucket_of(first.key)
    assert bucket_of(seal(vault, project="beta").key) != bucket_of(first.key)
    assert bucket_of(vault.seal("alpha", "short", b"", b"", NOW).key) != bucket_of(first.key)
    assert [(each.project, each.retention_class) for each in vault.buckets("beta")] == [("beta", "standard")]
    (bucket,) = vault.buckets("alpha", before_ms=NOW + HOUR_MS)[:1]
    assert bucket.begins <= NOW < bucket.ends == bucket.begins + HOUR_MS


def test_a_full_bucket_is_followed_by_another(instance: Instance) -> None:
    vault = instance.open(bucket_records=10)
    sealed = [seal(vault) for _ in range(35)]
    assert len({bucket_of(each.key) for each in sealed}) == 4
    vault.close()


def test_a_clock_that_goes_back_still_gets_the_right_bucket(instance: Instance) -> None:
    late, early = seal(instance.vault, now=NOW + HOUR_MS), seal(instance.vault, now=NOW)
    for sealed, now in [(late, NOW + HOUR_MS), (early, NOW)]:
        (bucket,) = [each for each in instance.vault.buckets() if each.id == bucket_of(sealed.key)]
        assert bucket.begins <= now < bucket.ends


def test_sealing_in_a_bucket_that_has_begun_writes_no_file(instance: Instance) -> None:
    seal(instance.vault)
    before = {path: path.stat().st_mtime_ns for path in (instance.folder / "keys").iterdir()}
    for _ in range(100):
        seal(instance.vault)
    assert {path: path.stat().st_mtime_ns for path in (instance.folder / "keys").iterdir()} == before


def test_a_prepared_bucket_spares_sealing_the_disk(instance: Instance) -> None:
    vault = instance.vault
    ends = NOW - NOW % HOUR_MS + HOUR_MS
    seal(vault)
    assert vault.prepare(NOW) == 0
    assert vault.prepare(ends - 60_000) == 1
    assert vault.prepare(ends - 50_000) == 0
    before = len(vault.buckets())
    sealed = seal(vault, now=ends)
    assert len(vault.buckets()) == before
    assert vault.open_sealed("alpha", b"call/outcome", sealed) == b"content"


def test_a_bucket_that_fills_up_is_prepared_for(instance: Instance) -> None:
    vault = instance.open(bucket_records=100)
    for _ in range(80):
        seal(vault)
    assert vault.prepare(NOW) == 1
    assert len({bucket_of(seal(vault).key) for _ in range(40)}) == 2
    assert len(vault.buckets()) == 2
    vault.close()


def test_threads_seal_and_open_at_once(instance: Instance) -> None:
    vault = instance.open(bucket_records=50)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(200):
                ident = f"{number}/{turn}".encode()
                sealed = vault.seal(f"project-{number % 3}", "standard", ident, ident * 20, NOW)
                assert vault.open_sealed(f"project-{number % 3}", ident, sealed) == ident * 20
        except BaseException as error:  # reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert vault.check() == []
    vault.close()


def test_what_one_process_destroys_another_neither_opens_nor_seals_with(instance: Instance) -> None:
    here, there = instance.vault, instance.open()
    sealed = seal(there)
    assert there.open_sealed("alpha", b"call/outcome", sealed) == b"content"  # its key is in memory now
    here.retire_project("alpha", NOW)
    after = seal(there)
    assert bucket_of(after.key) != bucket_of(sealed.key)
    assert here.destroy_project("alpha", NOW) == 1
    with pytest.raises(ContentErased):
        there.open_sealed("alpha", b"call/outcome", sealed)
    assert here.open_sealed("alpha", b"call/outcome", after) == b"content"
    there.close()


def test_processes_make_and_destroy_keys_at_once_without_mixing_up_slots(instance: Instance) -> None:
    handles = [instance.open(bucket_records=3) for _ in range(3)]
    failures: list[BaseException] = []

    def work(vault: Vault, number: int) -> None:
        try:
            for turn in range(15):
                kept = [seal(vault, project=f"keep-{number}") for _ in range(4)]
                seal(vault, project=f"drop-{number}")
                vault.retire_project(f"drop-{number}", NOW + turn)
                assert vault.destroy_project(f"drop-{number}", NOW + turn) == 1
                for each in kept:
                    assert vault.open_sealed(f"keep-{number}", b"call/outcome", each) == b"content"
        except BaseException as error:  # reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=each) for each in zip(handles, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert instance.vault.check() == []
    for vault in handles:
        vault.close()


def test_a_bucket_in_use_is_not_destroyed(instance: Instance) -> None:
    sealed = seal(instance.vault)
    with pytest.raises(VaultError, match="retire it first"):
        instance.vault.destroy_buckets([bucket_of(sealed.key)], NOW)
    assert instance.vault.open_sealed("alpha", b"call/outcome", sealed) == b"content"


def test_a_reference_to_an_end_user_has_a_pseudonym_per_project_until_the_project_is_erased(
    instance: Instance,
) -> None:
    vault = instance.vault
    first = vault.subject("alpha", "user-1")
    assert len(first) == 16
    assert vault.subject("alpha", "user-1") == first == instance.open().subject("alpha", "user-1")
    assert len({first, vault.subject("alpha", "user-2"), vault.subject("beta", "user-1")}) == 3
    vault.retire_project("alpha", NOW)
    vault.destroy_project("alpha", NOW)
    assert vault.subject("alpha", "user-1") != first


def test_lost_content_is_not_taken_for_erased_content(instance: Instance) -> None:
    sealed = seal(instance.vault)
    strange = Sealed(sealed.key[:1] + b"\0" + os.urandom(7) + sealed.key[9:], sealed.data)
    with pytest.raises(VaultError, match="not in this vault"):
        instance.vault.open_sealed("alpha", b"call/outcome", strange)
    path = instance.folder / "keys" / "vault.keys"
    raw = bytearray(path.read_bytes())
    raw[512:] = bytes(len(raw) - 512)
    path.write_bytes(raw)
    vault = instance.open()
    with pytest.raises(VaultError, match="missing from slot"):
        vault.open_sealed("alpha", b"call/outcome", sealed)
    assert len(vault.check()) == 2  # the project's key and the bucket's
    vault.close()


def test_a_key_whose_slot_is_thought_free_is_reported(instance: Instance) -> None:
    seal(instance.vault)
    with closing(sqlite3.connect(instance.folder / "keys" / "vault.db")) as db:
        db.execute("UPDATE slots SET state = 'free' WHERE slot = 2")
        db.commit()
    (problem,) = instance.vault.check()
    assert "not marked as used" in problem


def test_a_vault_is_not_opened_with_another_root_key(instance: Instance) -> None:
    seal(instance.vault)
    with pytest.raises(RootKeyError, match="is under secret:"):
        Vault.open(instance.folder / "keys", SecretRoot(os.urandom(32)))


def test_a_missing_vault_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="restore"):
        Vault.open(tmp_path, SecretRoot(os.urandom(32)))
    assert list(tmp_path.iterdir()) == []


def test_a_vault_is_not_made_over_another(instance: Instance) -> None:
    with pytest.raises(VaultError, match="can't make a vault"):
        Vault.create(instance.folder / "keys")


def test_files_of_two_vaults_do_not_mix(instance: Instance, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Vault.create(other)
    (other / "vault.keys").write_bytes((instance.folder / "keys" / "vault.keys").read_bytes())
    with pytest.raises(VaultError, match="does not belong"):
        Vault.open(other, instance.root)


def test_an_unknown_schema_is_refused(instance: Instance) -> None:
    instance.vault.close()
    db = sqlite3.connect(instance.folder / "keys" / "vault.db")
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(VaultError, match="schema 2"):
        instance.open()


def test_only_the_owner_reads_the_files(instance: Instance) -> None:
    seal(instance.vault)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (instance.folder / "keys").iterdir()}
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("name", ["", ":subjects", "a b", "x" * 65, "a\0b"])
def test_odd_names_of_retention_classes_are_refused(instance: Instance, name: str) -> None:
    with pytest.raises(VaultError, match="retention class"):
        instance.vault.seal("alpha", name, b"", b"", NOW)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_odd_ids_of_projects_are_refused(instance: Instance, name: str) -> None:
    with pytest.raises(VaultError, match="project's id"):
        instance.vault.seal(name, "standard", b"", b"", NOW)


def test_a_vault_that_cannot_be_written_says_so(instance: Instance) -> None:
    instance.vault.close()
    with pytest.raises(VaultError, match="can't be read"):
        seal(instance.vault)
    instance.vault = instance.open()


def test_a_copy_opens_what_was_sealed_before_it(instance: Instance, tmp_path: Path) -> None:
    sealed = seal(instance.vault)
    backup = tmp_path / "backup"
    backup.mkdir()
    instance.vault.copy_to(backup)
    later = seal(instance.vault, now=NOW + HOUR_MS)
    restored = Vault.open(backup, instance.root)
    assert restored.check() == []
    assert restored.open_sealed("alpha", b"call/outcome", sealed) == b"content"
    with pytest.raises(VaultError, match="not in this vault"):
        restored.open_sealed("alpha", b"call/outcome", later)
    restored.close()


def test_what_an_interrupted_creation_left_is_replaced(tmp_path: Path) -> None:
    for name in ("vault.keys", "vault.db.new", "vault.db.new-wal"):
        (tmp_path / name).write_bytes(b"torn")
    Vault.create(tmp_path)
    Vault.open(tmp_path, SecretRoot(os.urandom(32))).close()
    assert {path.name for path in tmp_path.iterdir()} == {"vault.keys", "vault.db"}
