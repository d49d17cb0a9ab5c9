"""A vault that hosts share: one PostgreSQL, one folder, each host with its own path to it."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postgresql_kit import Cluster, running_cluster
from regalia.storage import Database, open_database
from regalia.vault import (
    ContentErased,
    ErasureUnderWay,
    KeyElsewhere,
    RootKeyError,
    Sealed,
    SecretRoot,
    SharedVault,
    VaultError,
    bucket_of,
)
from regalia.vault.erasure import erase_calls, erase_project
from regalia.vault.keyfolder import KeyFolder
from vault.content_table import ContentTable, files_containing
from vault.instances import NOW, Remembering

pytestmark = pytest.mark.needs("postgres")
IDENT = b"call/outcome"


@pytest.fixture(scope="module")
def cluster(needs: Callable[[str], Path]) -> Iterator[Cluster]:
    with running_cluster(needs("postgres")) as running:
        yield running


@dataclass
class Hosts:
    """A database and a folder, and what opens a vault over both as another host would."""

    folder: Path
    url: str
    root: SecretRoot
    random: Remembering
    opened: list[tuple[SharedVault, Database]]
    names: Iterator[int] = field(default_factory=itertools.count)

    def open(self, folder: Path | None = None) -> SharedVault:
        """Another host: it has its own connections, and its own way to the folder."""
        path = folder
        if path is None:
            path = self.folder.with_name(f"host-{next(self.names)}")
            path.symlink_to(self.folder)
        database = open_database(self.url)
        vault = SharedVault.over(path, database, self.root, random=self.random)
        self.opened.append((vault, database))
        return vault

    def close(self) -> None:
        for vault, database in self.opened:
            vault.close()
            database.close()
        self.opened.clear()


@pytest.fixture
def hosts(cluster: Cluster, tmp_path: Path) -> Iterator[Hosts]:
    folder, url = tmp_path / "shared", cluster.fresh()
    database = open_database(url)
    assert not SharedVault.exists(database)
    random = Remembering()
    assert SharedVault.make(folder, database, random=random)
    assert not SharedVault.make(folder, database)
    database.close()
    made = Hosts(folder, url, SecretRoot(os.urandom(32)), random, [])
    yield made
    made.close()


def seal(vault: SharedVault, content: bytes = b"content", project: str = "alpha") -> Sealed:
    with vault.turn(locked=True):
        return vault.seal(project, "standard", IDENT, content, NOW)


def test_what_one_host_sealed_another_opens(hosts: Hosts) -> None:
    first, second = hosts.open(), hosts.open()
    sealed = seal(first)
    assert second.open_sealed("alpha", IDENT, sealed) == b"content"
    assert bucket_of(seal(second).key) != bucket_of(sealed.key)
    assert first.subject("alpha", "amina") == second.subject("alpha", "amina")
    assert len(list(hosts.folder.glob("*.key"))) == 4, "a project key, two buckets, the key of end users"
    hosts.close()
    assert hosts.open().open_sealed("alpha", IDENT, sealed) == b"content"
    assert not [name for name in hosts.folder.iterdir() if name.name.startswith("open-")][1:]


def test_a_project_erased_at_one_host_is_gone_at_all(hosts: Hosts, cluster: Cluster) -> None:
    first, second = hosts.open(), hosts.open()
    sealed, kept = seal(first), seal(first, project="beta")
    assert second.open_sealed("alpha", IDENT, sealed) == b"content"
    wrapped = [path.read_bytes()[10:80] for path in hosts.folder.glob("*.key")]
    assert files_containing(hosts.folder, wrapped), "they would be found"
    recorded: list[str] = []
    assert erase_project(second, "alpha", lambda: recorded.append("x"), NOW) == 1
    assert recorded == ["x"]
    for vault in (first, second):
        with pytest.raises(ContentErased):
            vault.open_sealed("alpha", IDENT, sealed)
        assert vault.open_sealed("beta", IDENT, kept) == b"content"
    again = seal(first)
    assert second.open_sealed("alpha", IDENT, again) == b"content"
    assert first.check() == second.check() == []
    left = {path.read_bytes()[10:80] for path in hosts.folder.glob("*.key")}
    gone = [key for key in wrapped if key not in left]
    assert len(gone) == 1
    assert not files_containing(hosts.folder, gone)
    assert not files_containing(cluster.folder, [*wrapped, *hosts.random.given]), "PostgreSQL was given a key"


def test_a_key_retired_at_one_host_seals_nothing_at_another_after_that(hosts: Hosts) -> None:
    first, second = hosts.open(), hosts.open()
    before = seal(first)
    second.retire_buckets([bucket_of(before.key)], NOW)
    assert bucket_of(seal(first).key) != bucket_of(before.key)
    assert first.open_sealed("alpha", IDENT, before) == b"content"


def test_a_call_erased_at_one_host_leaves_its_neighbours_to_all(hosts: Hosts, tmp_path: Path) -> None:
    first, second = hosts.open(), hosts.open()
    rows = ContentTable(tmp_path / "rows.db")
    for name in ("one", "two", "three"):
        rows.seal(first, "alpha", name, name.encode(), NOW)
    stolen = rows.sealed("two")
    assert stolen is not None
    erase_calls(second, rows, frozenset({"two"}), lambda: None, NOW)
    assert [rows.open(first, "alpha", name) for name in ("one", "two", "three")] == [b"one", None, b"three"]
    with pytest.raises(ContentErased):
        first.open_sealed("alpha", b"two/outcome", stolen)
    rows.close()


def test_erasures_go_one_at_a_time_on_all_hosts(hosts: Hosts) -> None:
    first, second = hosts.open(), hosts.open()
    with first.exclusively(), pytest.raises(ErasureUnderWay), second.exclusively():
        pass
    with second.exclusively():
        pass


def test_the_root_key_is_rotated_for_all_hosts(hosts: Hosts) -> None:
    first, second = hosts.open(), hosts.open()
    sealed = seal(first)
    assert second.rotate_root(SecretRoot(bytes(32))) == 1
    assert second.open_sealed("alpha", IDENT, sealed) == b"content"
    with pytest.raises(RootKeyError, match="is under secret:"):
        hosts.open()


def test_a_folder_that_is_not_shared_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(VaultError, match="mount or link the folder"):
            hosts.open(folder)
    first = hosts.open()
    seal(first)
    copy = tmp_path / "copy"
    shutil.copytree(hosts.folder, copy)
    for opening in copy.glob("open-*"):
        opening.unlink()  # a copy that was made before the first host started
    with pytest.raises(VaultError, match="perhaps a copy"):
        hosts.open(copy)
    seal(first, project="beta")
    hosts.close()
    with pytest.raises(VaultError, match="lacks 2 of the newest keys"):
        hosts.open(copy)
    hosts.open()


def test_a_host_that_lost_its_folder_says_so(hosts: Hosts, tmp_path: Path) -> None:
    first, second = hosts.open(), hosts.open()
    sealed = seal(first)
    for path in hosts.folder.glob("*.key"):
        path.rename(tmp_path / path.name)
    with pytest.raises(KeyElsewhere, match="the folder that all hosts share"):
        second.open_sealed("alpha", IDENT, sealed)


def test_a_creation_that_was_interrupted_is_repeated(cluster: Cluster, tmp_path: Path) -> None:
    database = open_database(cluster.fresh())
    KeyFolder.create(tmp_path / "shared", b"n" * 16)
    with pytest.raises(VaultError):
        SharedVault.over(tmp_path / "shared", database, SecretRoot(bytes(32)))
    assert SharedVault.make(tmp_path / "shared", database)
    SharedVault.over(tmp_path / "shared", database, SecretRoot(bytes(32))).close()
    database.close()


def test_a_folder_with_another_vaults_keys_is_not_taken(hosts: Hosts, cluster: Cluster) -> None:
    seal(hosts.open())
    database = open_database(cluster.fresh())
    with pytest.raises(VaultError, match="keys of another vault"):
        SharedVault.make(hosts.folder, database)
    assert not SharedVault.exists(database)
    database.close()


def test_a_backup_is_completed_by_empty_files_for_keys_destroyed_meanwhile(
    hosts: Hosts, tmp_path: Path
) -> None:
    first = hosts.open()
    sealed, kept = seal(first), seal(first, project="beta")
    backup = tmp_path / "backup"
    backup.mkdir()
    first.copy_to(backup)
    victim = next(path for path in hosts.folder.glob("*.key") if path.stat().st_size == 512)
    hosts.close()
    (backup / victim.name).unlink()
    SharedVault.complete(backup, open_database(hosts.url))
    opened = 0
    vault = hosts.open(backup)
    for project, each in (("alpha", sealed), ("beta", kept)):
        try:
            opened += vault.open_sealed(project, IDENT, each) == b"content"
        except VaultError:
            continue
    assert opened == 1
