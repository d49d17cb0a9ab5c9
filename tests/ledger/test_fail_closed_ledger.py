"""What can't be recorded is refused, with the reason, and service resumes by itself."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_kit import Call, Site, event, receipt
from regalia.errors import AuditUnavailable
from regalia.ledger import KeyFiles, KeyUnusable, create_keys, verifier_keys
from regalia.ledger.keys import FileSigner


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system: sudo make test")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_refuses_and_room_on_it_resumes(small_disk: Path) -> None:
    site = Site.make(small_disk / "d")
    acknowledged = 0
    with site.log() as log:
        log.publish()
        log.append([event()])
        ballast = fill(small_disk)
        for _ in range(400):
            call = Call.new(size=5000)
            result = log.append([call.admission()])[0]
            if isinstance(result, AuditUnavailable):
                break
            acknowledged += 1
        assert log.commit_failure is not None
        assert "full" in log.commit_failure
        fill(small_disk)
        log.publish()
        assert "No space left" in (log.publish_failure or "")
        ballast.unlink()
        call = Call.new()
        assert log.append([call.admission(), call.outcome()]) == [acknowledged + 2, acknowledged + 3]
        assert log.commit_failure is None
        log.publish()
        assert log.publish_failure is None
        site.verify_receipt(receipt(log, call.id), call)
    site.verify()


def test_a_file_size_limit_refuses_and_without_it_resumes(site: Site) -> None:
    """As a full disk, where mounting one is not possible."""
    with site.log() as log:
        log.append([event()])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            results = [log.append([Call.new(size=50_000).admission()])[0] for _ in range(10)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert isinstance(results[-1], AuditUnavailable)
        assert log.commit_failure is not None
        refused = sum(isinstance(result, AuditUnavailable) for result in results)
        assert log.append([event()]) == [12 - refused]
        log.publish()
    site.verify()


@pytest.mark.parametrize("name", ["ed25519", "mldsa44"])
def test_a_missing_key_stops_publication_until_it_is_back(site: Site, name: str) -> None:
    key: Path = getattr(site.keys, name)
    away = key.with_suffix(".away")
    with site.log() as log:
        log.publish()
        before = (site.folder / "checkpoint").read_bytes()
        log.append([event()])
        key.rename(away)
        log.publish()
        assert str(key) in (log.publish_failure or "")
        assert (site.folder / "checkpoint").read_bytes() == before
        assert log.append([event()]) == [2]  # what happens is still recorded
        away.rename(key)
        log.publish()
        assert log.publish_failure is None
        assert log.published.size == 3
    site.verify()


def test_recovery_needs_no_new_entry(site: Site) -> None:
    with site.log() as log:
        log.append([event()])
        log.publish()
        site.folder.rename(site.data_dir / "away")
        log.append([event()])
        log.publish()
        assert log.publish_failure is not None
        (site.data_dir / "away").rename(site.folder)
        log.publish()
        assert log.publish_failure is None
        log.publish()
    site.verify()


def test_another_key_in_the_file_signs_nothing(site: Site, tmp_path: Path) -> None:
    others = KeyFiles.under(tmp_path / "others")
    create_keys(others)
    with site.log() as log:
        log.append([event()])
        shutil.copy(others.ed25519, site.keys.ed25519)
        log.publish()
        assert "no longer holds the log's key" in (log.publish_failure or "")


def test_a_database_file_that_was_replaced_takes_no_more(site: Site) -> None:
    path = site.data_dir / "regalia.db"
    with site.log() as log:
        log.append([event()])
        path.rename(path.with_suffix(".away"))
        assert isinstance(log.append([event()])[0], AuditUnavailable)
        path.with_suffix(".away").rename(path)
        assert log.append([event()]) == [2]


def test_a_probe_finds_that_commits_work_again(site: Site) -> None:
    path = site.data_dir / "regalia.db"
    with site.log() as log:
        log.publish()
        path.rename(path.with_suffix(".away"))
        log.append([event()])
        log.publish()
        assert log.commit_failure is not None
        path.with_suffix(".away").rename(path)
        log.publish()
        assert not any((log.commit_failure, log.publish_failure))


def test_keys_that_others_may_read_are_refused(site: Site) -> None:
    site.keys.ed25519.chmod(0o640)
    with pytest.raises(KeyUnusable, match=r"mode 0640.*chmod 600"):
        FileSigner(site.keys, "x")


def test_swapped_and_broken_keys_are_refused(site: Site) -> None:
    ed25519, mldsa44 = site.keys.ed25519, site.keys.mldsa44
    with pytest.raises(KeyUnusable, match="not an Ed25519 key"):
        verifier_keys(KeyFiles(mldsa44, ed25519), "x")
    ed25519.write_text("nonsense")
    with pytest.raises(KeyUnusable, match="not an unencrypted PKCS8 key"):
        verifier_keys(site.keys, "x")


def test_keys_are_never_replaced(site: Site) -> None:
    with pytest.raises(FileExistsError):
        create_keys(site.keys)
