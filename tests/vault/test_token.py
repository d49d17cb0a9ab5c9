"""The root key inside a PKCS#11 token: Debian's SoftHSM, a real token without the hardware."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regalia.vault import RootKeyError, SecretRoot, Vault, root_key
from vault.content_table import files_containing
from vault.instances import NOW, Instance

if TYPE_CHECKING:
    from regalia.vault.token import TokenRoot

MODULES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]
SECRET = bytes(range(32))


def absent(reason: str) -> None:
    """Skip; in CI, where everything is installed, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A new token; the beginning of its keys' URIs."""
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        absent("needs softhsm2-util: sudo apt-get install softhsm2")
    try:
        import pkcs11  # noqa: F401 - is it there?
    except ImportError:
        absent("needs python-pkcs11: pip install 'regalia[pkcs11]'")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    (folder / "pin").write_text("246810\n")
    (folder / "pin").chmod(0o600)
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    subprocess.run(
        [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "regalia",
            "--pin",
            "246810",
            "--so-pin",
            "13579",
        ],
        check=True,
        capture_output=True,
    )
    yield f"pkcs11:token=regalia;object=KEY?module-path={module}&pin-source={folder / 'pin'}"
    del os.environ["SOFTHSM2_CONF"]


def create(token: str, label: str) -> "TokenRoot":
    from regalia.vault.token import TokenRoot

    return TokenRoot.create(token.replace("KEY", label))


@pytest.mark.parametrize("gcm", [True, False, None])
def test_a_project_key_wrapped_in_the_token_opens_only_in_its_context(token: str, gcm: bool | None) -> None:
    from regalia.vault.token import TokenKey, TokenRoot

    made = create(token, f"root-{gcm}")
    root = TokenRoot(TokenKey.parse(token.replace("KEY", f"root-{gcm}")), gcm=gcm)
    wrapped = root.wrap(SECRET, b"context")
    assert SECRET not in wrapped
    assert len(wrapped) <= 400
    assert root.unwrap(wrapped, b"context") == SECRET == made.unwrap(wrapped, b"context")
    for damaged, context in [(wrapped, b"other"), (wrapped[:-1], b"context"), (wrapped[:1], b"context")]:
        with pytest.raises(RootKeyError):
            root.unwrap(damaged, context)
    assert root.unwrap(wrapped, b"context") == SECRET  # a refusal does not spoil the session


def test_the_key_never_leaves_the_token(token: str) -> None:
    import pkcs11

    root = create(token, "kept")
    key = root._key()
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        key[pkcs11.Attribute.VALUE]


def test_keys_of_one_token_are_told_apart(token: str) -> None:
    one, other = create(token, "one"), create(token, "other")
    assert one.id != other.id
    with pytest.raises(RootKeyError):
        other.unwrap(one.wrap(SECRET, b""), b"")
    with pytest.raises(RootKeyError, match="has a key 'one' already"):
        create(token, "one")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its own
def test_a_lost_session_is_opened_again(token: str) -> None:
    root = create(token, "lost")
    wrapped = root.wrap(SECRET, b"context")
    assert root._session is not None
    root._session.close()
    assert root.unwrap(wrapped, b"context") == SECRET
    root.close()
    assert root.unwrap(wrapped, b"context") == SECRET


def test_a_vault_lives_under_a_token_and_moves_there_and_back(token: str, instance: Instance) -> None:
    instance.rows.seal(instance.vault, "alpha", "call", b"content", NOW)
    root = create(token, "vault")
    instance.vault.rotate_root(root)
    instance.rows.seal(instance.vault, "beta", "later", b"content", NOW)
    instance.vault.close()
    with pytest.raises(RootKeyError, match="is under pkcs11:"):
        instance.open()
    instance.vault = Vault.open(
        instance.folder / "keys", root_key(token.replace("KEY", "vault")), random=instance.random
    )
    for project, call in [("alpha", "call"), ("beta", "later")]:
        assert instance.rows.open(instance.vault, project, call) == b"content"
    assert files_containing(instance.folder, instance.random.given) == set()
    instance.vault.rotate_root(SecretRoot(SECRET))
    assert instance.rows.open(instance.vault, "alpha", "call") == b"content"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("object=KEY", "object=none"), "none"),
        (("token=regalia", "token=other"), "other"),
        (("libsofthsm2.so", "nothing.so"), "nothing.so"),
        (("pin-source=", "pin-source=/nowhere"), "/nowhere"),
        (("pin-source=", "pin-value="), "pin-source=/path/pin"),
        (("token=regalia;", ""), "is written"),
        (("token=regalia;", "token=a;token=b;"), "is written"),
    ],
)
def test_what_is_wrong_with_a_uri_is_said(token: str, change: tuple[str, str], reason: str) -> None:
    with pytest.raises(RootKeyError, match=reason):
        root_key(token.replace(*change))


def test_a_pin_that_others_may_read_is_refused(token: str, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("246810")
    (tmp_path / "pin").chmod(0o644)
    uri = token.partition("pin-source=")[0] + f"pin-source=file:{tmp_path / 'pin'}"
    with pytest.raises(RootKeyError, match="chmod 600"):
        root_key(uri)
