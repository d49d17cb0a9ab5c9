"""Local accounts: passwords, lock-out with back-off, one-time codes; decisions, and on a running server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from hypothesis import given, settings
from hypothesis import strategies as st

from regalia.identity.signin import lockout, totp
from regalia.identity.signin.accounts import Accounts, NotLetIn, add_account, set_password, set_totp
from regalia.identity.signin.devices import device_of, new_device
from regalia.identity.signin.lockout import Attempts
from regalia.identity.signin.noticing import Noticing
from regalia.identity.signin.passwords import (
    PasswordTooWeak,
    check_password,
    hash_password,
    verify_password,
)
from regalia.storage import Database, open_database, upgrade
from serving import regalia
from signin.conftest import Site
from signin.providing import Browser, hidden

SECRET = b"s" * 32
NOW = 1_800_000_000_000
PASSWORD = "correct horse battery"


def cheap(password: str) -> str:
    """Argon2id that takes no time."""
    kdf = Argon2id(salt=b"x" * 16, length=32, iterations=1, lanes=1, memory_cost=8)
    return kdf.derive_phc_encoded(password.encode())


def code_at(secret: bytes, ms: int) -> str:
    return TOTP(secret, 6, SHA1(), 30).generate(ms // 1000).decode()  # noqa: S303 - as authenticators do


@pytest.fixture
def accounts(tmp_path: Path) -> Callable[[], tuple[Database, Accounts]]:
    def made() -> tuple[Database, Accounts]:
        database = open_database(f"sqlite:///{tmp_path}/regalia.db")
        upgrade(database)
        with database.write() as connection:
            add_account(connection, "amina", "user_1", cheap(PASSWORD), NOW)
        return database, Accounts(database, SECRET)

    return made


def refused(at: Accounts, password: str, code: str = "", device: str = "", now: int = NOW) -> NotLetIn:
    with pytest.raises(NotLetIn) as found:
        at.authenticate("amina", password, code, device, now)
    return found.value


def test_a_password_is_kept_as_argon2id_and_in_one_spelling() -> None:
    kept = hash_password("Ångström-Ångström", b"y" * 16)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert verify_password("A\u030angstro\u0308m-A\u030angstro\u0308m", kept)
    assert not verify_password("Angstrom-Angstrom", kept)
    for weak in ("short", "a" * 20, "amina-amina-amina"):
        with pytest.raises(PasswordTooWeak):
            check_password(weak, "amina-amina-amina")
    check_password("eleven plus one", "amina")


def test_failures_lock_an_account_for_a_while_and_never_for_ever(
    accounts: Callable[[], tuple[Database, Accounts]],
) -> None:
    _, at = accounts()
    for attempt in range(lockout.FREE):
        found = refused(at, "wrong")
        assert (found.reason, found.locked) == ("password", attempt == lockout.FREE - 1)
    assert refused(at, PASSWORD).reason == "locked"  # the right one is not looked at either
    assert str(refused(at, PASSWORD)) == str(refused(at, "wrong"))
    later = NOW + lockout.FIRST_WAIT_MS
    assert at.authenticate("amina", PASSWORD, "", "", later).user == "user_1"
    assert refused(at, "wrong", now=later).locked is False  # a good one has made a new beginning


def test_a_browser_that_was_let_in_before_is_not_locked_out_by_others(
    accounts: Callable[[], tuple[Database, Accounts]],
) -> None:
    _, at = accounts()
    cookie = new_device(SECRET, "amina", b"d" * 12)
    device = device_of(SECRET, "amina", cookie)
    for _ in range(lockout.FREE + 3):
        refused(at, "wrong")
    assert refused(at, PASSWORD).reason == "locked"
    assert at.authenticate("amina", PASSWORD, "", device, NOW).name == "amina"
    assert device_of(SECRET, "brian", cookie) == ""
    assert device_of(SECRET, "amina", "0" * 24 + "." + "0" * 64) == ""


def test_a_new_password_lifts_the_lock(accounts: Callable[[], tuple[Database, Accounts]]) -> None:
    database, at = accounts()
    for _ in range(lockout.FREE):
        refused(at, "wrong")
    with database.write() as connection:
        set_password(connection, "amina", cheap("another password"), NOW)
    assert at.authenticate("amina", "another password", "", "", NOW).name == "amina"
    assert refused(at, PASSWORD).reason == "password"


def test_a_one_time_code_is_good_once(accounts: Callable[[], tuple[Database, Accounts]]) -> None:
    database, at = accounts()
    secret = b"k" * 20
    codes = [totp.recovery_code(bytes([number]) * 10) for number in range(2)]
    with database.write() as connection:
        sealed = totp.seal_secret(secret, SECRET, "amina", b"n" * 12)
        set_totp(connection, "amina", sealed, [totp.hash_recovery(SECRET, "amina", code) for code in codes])
    assert refused(at, PASSWORD).reason == "code"
    assert refused(at, "wrong", code_at(secret, NOW)).reason == "password"
    assert at.authenticate("amina", PASSWORD, code_at(secret, NOW), "", NOW).recovery_codes == 2
    assert refused(at, PASSWORD, code_at(secret, NOW)).reason == "code"
    assert refused(at, PASSWORD, code_at(secret, NOW - 30_000)).reason == "code"  # nor an earlier one
    assert refused(at, PASSWORD, code_at(secret, NOW + 90_000)).reason == "code"
    at.authenticate("amina", PASSWORD, codes[0].upper().replace("-", " "), "", NOW)
    assert refused(at, PASSWORD, codes[0]).reason == "code"
    assert at.authenticate("amina", PASSWORD, codes[1], "", NOW).recovery_codes == 0


def test_a_sealed_secret_is_of_its_account_only() -> None:
    sealed = totp.seal_secret(b"k" * 20, SECRET, "amina", b"n" * 12)
    assert totp.open_secret(sealed, SECRET, "amina") == b"k" * 20
    assert totp.open_secret(sealed, SECRET, "brian") is None
    assert totp.open_secret(sealed, b"t" * 32, "amina") is None


@given(st.lists(st.integers(0, 100_000_000), max_size=60))
@settings(max_examples=200)
def test_nobody_waits_longer_than_a_quarter_of_an_hour(pauses: list[int]) -> None:
    attempts, now = Attempts(), NOW
    for pause in pauses:
        now += pause
        if not lockout.waits(attempts, now):
            attempts = lockout.failed(attempts, now)
        assert not lockout.waits(attempts, now + lockout.LONGEST_WAIT_MS)
        assert attempts.until - now <= lockout.LONGEST_WAIT_MS
        assert not lockout.waits(attempts, now - 10 * lockout.LONGEST_WAIT_MS)  # the clock went back


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5_000)), max_size=200))
def test_records_of_failures_are_few_and_count_the_rest(failures: list[tuple[int, int]]) -> None:
    noticing, now, recorded, told = Noticing(), NOW, 0, 0
    for who, pause in failures:
        now += pause
        unrecorded = noticing.note((str(who),), now)
        if unrecorded is not None:
            recorded, told = recorded + 1, told + unrecorded
    assert recorded + told <= len(failures)
    assert recorded <= 30 + (now - NOW) // 2_000 + 1


def sign_in(site: Site, browser: Browser, name: str, password: str, code: str = "") -> httpx.Response:
    at = browser.at(site.url)
    page = at.get(f"{site.url}/signin").text
    form = {"csrf": hidden(page, "csrf"), "return_to": "/", "name": name, "password": password, "code": code}
    return at.post(f"{site.url}/signin", data=form)


def test_an_account_is_added_used_reset_and_disabled_on_a_running_server(site: Site) -> None:
    def ask(path: str, body: object = None) -> dict[str, Any]:
        with site.server.http() as client:
            reply = client.post(f"/v1/regalia/accounts{path}", json=body)
            found: dict[str, Any] = reply.raise_for_status().json()
            return found

    made = ask("", {"name": "Esther", "title": "Esther M."})
    assert made["name"] == "esther"
    with Browser() as browser, Browser() as other:
        assert sign_in(site, browser, "esther", "wrong").status_code == 401
        assert sign_in(site, browser, "nobody", "wrong").status_code == 401
        assert sign_in(site, browser, "ESTHER", made["password"]).status_code == 303
        whoami = f"{site.url}/v1/regalia/session"
        assert browser.at(site.url).get(whoami).json()["provider"] is None
        reset = ask("/esther/reset", {})
        assert browser.at(site.url).get(whoami).status_code == 401
        assert sign_in(site, other, "esther", made["password"]).status_code == 401
        enrolled = ask("/esther/totp")
        assert sign_in(site, other, "esther", reset["password"]).status_code == 401
        code = enrolled["recovery_codes"][0]
        assert sign_in(site, other, "esther", reset["password"], code).status_code == 303
        ask("/esther/disable")
        assert other.at(site.url).get(whoami).status_code == 401
    text = regalia("accounts", "list", "--base-url", site.url, "--api-key", site.server.api_key).stdout
    assert "esther" in text


def test_accounts_are_for_owners_to_manage(site: Site) -> None:
    token = site.alpha.access_token("amina")
    reply = httpx.get(
        f"{site.url}/v1/regalia/accounts", headers={"authorization": f"Bearer {token}"}, timeout=60
    )
    assert reply.status_code == 403


def test_an_account_is_added_without_a_server(tmp_path: Path) -> None:
    data_dir = ("--data-dir", str(tmp_path / "d"))
    regalia("init", *data_dir)
    made = json.loads(regalia("accounts", "add", "amina", *data_dir, "--json").stdout)
    assert made["password"]
    events = [json.loads(line) for line in regalia("audit", "events", *data_dir).stdout.splitlines()]
    assert [e["metadata"]["event_code"] for e in events][-2:] == ["admin.user_added", "admin.account_added"]
    assert made["password"] not in json.dumps(events)
