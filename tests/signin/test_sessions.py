"""Sessions of browsers, on SQLite and PostgreSQL: when they end; nothing in the database opens one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from postgresql_kit import running_cluster
from regalia.identity.signin.accounts import Accounts, NotLetIn, add_account, set_disabled, set_totp
from regalia.identity.signin.sessions import MAX_PER_USER, Sessions, end_sessions
from regalia.identity.signin.totp import hash_recovery, seal_secret
from regalia.storage import Database, open_database, upgrade
from regalia.storage.schema.signin import sessions

SECRET = b"s" * 32
NOW = 1_800_000_000_000
MINUTE = 60_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, needs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    if request.param == "sqlite":
        database = open_database(f"sqlite:///{tmp_path_factory.mktemp('sessions')}/regalia.db")
        upgrade(database)
        yield database
        database.close()
        return
    with running_cluster(needs("postgres")) as cluster:
        database = open_database(cluster.fresh())
        upgrade(database)
        yield database
        database.close()


@pytest.fixture
def at(database: Database) -> Sessions:
    return Sessions(database, SECRET, idle_ms=30 * MINUTE, absolute_ms=720 * MINUTE)


def token_of(at: Sessions, user: str, number: int = 1, now: int = NOW) -> str:
    return at.begin(user, "alpha", now, number.to_bytes(32, "big"))[0]


def test_a_session_ends_when_it_is_idle_and_at_its_age(at: Sessions) -> None:
    token = token_of(at, "user_a")
    now = NOW
    for _ in range(36):
        now += 20 * MINUTE
        found = at.find(token, now)
        if now < NOW + 720 * MINUTE:
            assert found is not None
    assert at.find(token, NOW + 720 * MINUTE) is None
    idle = token_of(at, "user_a", 2)
    assert at.find(idle, NOW + 29 * MINUTE) is not None
    assert at.find(idle, NOW + 59 * MINUTE) is None
    assert at.find("", NOW) is at.find("x" * 200, NOW) is at.find("\ud800", NOW) is None


def test_ending_one_or_all(at: Sessions, database: Database) -> None:
    first, second, other = (
        token_of(at, user, n) for user, n in (("user_b", 3), ("user_b", 4), ("user_c", 5))
    )
    at.end(first)
    assert at.find(first, NOW) is None
    with database.write() as connection:
        assert end_sessions(connection, "user_b") == 1
    assert at.find(second, NOW) is None
    assert at.find(other, NOW) is not None


def test_a_user_has_so_many_sessions(at: Sessions) -> None:
    tokens = [token_of(at, "user_d", 100 + n, NOW + n) for n in range(MAX_PER_USER + 5)]
    alive = [token for token in tokens if at.find(token, NOW + 100) is not None]
    assert alive == tokens[5:]


def test_what_the_database_holds_opens_nothing(at: Sessions, database: Database) -> None:
    token = token_of(at, "user_e", 6)
    with database.read() as connection:
        row = connection.execute(select(sessions).where(sessions.c.user == "user_e")).one()
    assert token.encode() not in bytes(row.hash) + row.id.encode()
    assert at.find(bytes(row.hash).hex(), NOW) is at.find(row.id, NOW) is None
    another = Sessions(database, b"t" * 32, idle_ms=30 * MINUTE, absolute_ms=720 * MINUTE)
    assert another.find(token, NOW) is None
    assert at.csrf_matches(token, at.csrf(token))
    assert not at.csrf_matches(token, another.csrf(token))
    assert not at.csrf_matches(token, "")


def test_a_state_comes_back_once(at: Sessions) -> None:
    assert at.take_state("state", NOW, NOW + 10 * MINUTE)
    assert not at.take_state("state", NOW + 1, NOW + 10 * MINUTE)
    assert at.take_state("another", NOW, NOW + 10 * MINUTE)
    assert not at.take_state("state", NOW + 10 * MINUTE - 1, NOW + 20 * MINUTE)


def test_accounts_work_on_both(database: Database) -> None:
    cheap = "$argon2id$v=19$m=8,t=1,p=1$eHh4eHh4eHh4eHh4eHh4eA$"
    with database.write() as connection:
        add_account(connection, "amina", "user_1", cheap + "A" * 43, NOW)
        sealed = seal_secret(b"k" * 20, SECRET, "amina", b"n" * 12)
        set_totp(connection, "amina", sealed, [hash_recovery(SECRET, "amina", "a"), b"x"])
        set_disabled(connection, "amina", NOW)
    at = Accounts(database, SECRET)
    with pytest.raises(NotLetIn) as refused:
        at.authenticate("amina", "wrong", "", "", NOW)
    assert refused.value.reason == "disabled"
    (found,) = at.list()
    assert (found.totp, found.recovery_codes, found.disabled) == (True, 2, NOW)
