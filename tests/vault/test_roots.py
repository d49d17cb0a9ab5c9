"""Root keys from files and from the environment, and how they are rotated."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from regalia.vault import RootKeyError, SecretRoot, Vault, create_root_file, root_key
from vault.content_table import files_containing
from vault.instances import NOW, Instance

SECRET = bytes(range(32))


def root_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "root.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_root_key_made_in_a_file_is_found_there(tmp_path: Path) -> None:
    made = create_root_file(tmp_path / "root.key")
    found = root_key(f"file:{tmp_path / 'root.key'}")
    assert found.id == made.id
    assert found.unwrap(made.wrap(SECRET, b"here"), b"here") == SECRET
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_root_key_is_not_made_over_another(tmp_path: Path) -> None:
    made = create_root_file(tmp_path / "root.key")
    with pytest.raises(RootKeyError, match="File exists"):
        create_root_file(tmp_path / "root.key")
    assert root_key(f"file:{tmp_path / 'root.key'}").id == made.id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o660])
def test_a_root_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = root_file(tmp_path, SECRET.hex(), mode)
    with pytest.raises(RootKeyError, match=f"chmod 600 {path}"):
        root_key(f"file:{path}")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_root_key_of_its_owner_alone_is_used(tmp_path: Path, mode: int) -> None:
    assert root_key(f"file:{root_file(tmp_path, SECRET.hex(), mode)}").id == SecretRoot(SECRET).id


@pytest.mark.parametrize(
    "text", ["", "zz" * 32, SECRET.hex()[:-2], SECRET.hex() + "00", "é" * 64, "0" * 4096]
)
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RootKeyError, match="64 hex digits"):
        root_key(f"file:{root_file(tmp_path, text)}")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RootKeyError, match=str(path)):
            root_key(f"file:{path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_root_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root_file(tmp_path, SECRET.hex())
    os.chown(path, 12345, -1)
    with pytest.raises(RootKeyError, match="another user"):
        root_key(f"file:{path}")


def test_the_environment_holds_hex_digits_or_a_long_text() -> None:
    text = "correct horse battery staple and twelve more"
    derived = HKDF(SHA256(), 32, None, b"regalia/vault/root/v1").derive(text.encode())
    environment = {"HEX": SECRET.hex(), "TEXT": text, "SHORT": "x" * 31, "EMPTY": ""}
    assert root_key("env:HEX", environment).id == SecretRoot(SECRET).id
    assert root_key("env:TEXT", environment).id == SecretRoot(derived).id
    for name in ("SHORT", "EMPTY", "UNSET"):
        with pytest.raises(RootKeyError, match=name):
            root_key(f"env:{name}", environment)


@pytest.mark.parametrize("source", ["", "root.key", "vault:here", "FILE:/x"])
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(RootKeyError, match="file:PATH, env:NAME or a pkcs11: URI"):
        root_key(source)


def test_a_root_keys_name_does_not_tell_the_key() -> None:
    assert SECRET.hex()[:8] not in SecretRoot(SECRET).id
    assert SecretRoot(SECRET).id != SecretRoot(bytes(32)).id


def test_a_project_key_opens_only_in_its_context_and_under_its_root() -> None:
    wrapped = SecretRoot(SECRET).wrap(bytes(32), b"context")
    for root, context in [(SecretRoot(SECRET), b"other"), (SecretRoot(bytes(32)), b"context")]:
        with pytest.raises(RootKeyError):
            root.unwrap(wrapped, context)


def test_rotation_leaves_content_alone_and_nothing_under_the_old_root_key(instance: Instance) -> None:
    for project in ("alpha", "beta", "gamma"):
        instance.rows.seal(instance.vault, project, project, b"content", NOW)
    stored = {call: instance.rows.sealed(call) for call in instance.rows.calls()}
    buckets = {bucket.id: instance.slots()[bucket.id] for bucket in instance.vault.buckets()}
    project_keys = {key: wrapped for key, wrapped in instance.slots().items() if key not in buckets}
    old, new = instance.root, SecretRoot(os.urandom(32))
    assert instance.vault.rotate_root(new) == 3
    assert {call: instance.rows.sealed(call) for call in instance.rows.calls()} == stored
    assert instance.slots().items() >= buckets.items()
    assert files_containing(instance.folder, project_keys.values()) == set()
    instance.rows.seal(instance.vault, "delta", "delta", b"content", NOW)  # made under the new one
    instance.vault.close()
    with pytest.raises(RootKeyError):
        Vault.open(instance.folder / "keys", old)
    instance.root = new
    instance.vault = instance.open()
    for project in ("alpha", "beta", "gamma", "delta"):
        assert instance.rows.open(instance.vault, project, project) == b"content"


def test_a_process_with_the_old_root_key_says_so_after_a_rotation(instance: Instance) -> None:
    other = instance.open()
    instance.rows.seal(instance.vault, "alpha", "call", b"content", NOW)
    instance.vault.rotate_root(SecretRoot(os.urandom(32)))
    with pytest.raises(RootKeyError, match="is under the root key"):
        instance.rows.open(other, "alpha", "call")
    other.close()
