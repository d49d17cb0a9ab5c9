"""Local accounts, for sites without an identity provider: a password, and where it is set up a one-time code.

An attempt is counted as failed before it is looked at and forgotten when it succeeds, so that many attempts
at the same time are counted as many. Every method is short transactions and, where a password is checked,
0.1 s of work: call them in a thread.
"""

import re
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, func, select, update

from regalia.errors import RegaliaError
from regalia.identity.signin import lockout
from regalia.identity.signin.errors import SignInRefused
from regalia.identity.signin.lockout import Attempts
from regalia.identity.signin.passwords import NOBODY, verify_password
from regalia.identity.signin.totp import hash_recovery, open_secret, step_of
from regalia.storage import Database
from regalia.storage.schema.signin import accounts, attempts, recovery_codes

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
REFUSED: Final = (
    "That did not work: the name, the password or the code is not right, or there were too many attempts. "
    "After several failures in a row wait up to 15 minutes."
)


class NoSuchAccount(RegaliaError):
    """There is no local account of that name."""


class Account(msgspec.Struct, frozen=True):
    """A local account as an administrator sees it. Times in ms."""

    name: str
    user: str
    changed: int
    totp: bool
    recovery_codes: int
    disabled: int | None


class NotLetIn(SignInRefused):
    """An attempt that failed. `locked` says that it made the account wait."""

    def __init__(self, reason: str, user: str = "", locked: bool = False) -> None:
        super().__init__(reason, REFUSED)
        self.user = user
        self.locked = locked


def account_name(text: str) -> str:
    """The one spelling of an account's name. Raises SignInRefused for what can be none."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise SignInRefused("unknown", REFUSED)
    return name


class Accounts:
    """The local accounts in the database."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._secret = secret

    def authenticate(self, name: str, password: str, code: str, device: str, now: int) -> Account:
        """The account that this opens; `device` is from `devices.device_of`. Raises NotLetIn."""
        with self._database.write() as connection:
            row = _row(connection, name)
            charged = _charge(connection, "" if row is None else name, device, now)
        right = verify_password(password, NOBODY if row is None else row.password)
        if row is None:  # after as much work as with an account, so that time does not tell
            raise NotLetIn("unknown")
        if charged is None:
            raise NotLetIn("locked", row.user)
        locked = charged.until > now
        if row.disabled is not None:
            raise NotLetIn("disabled", row.user)
        if not right:
            raise NotLetIn("password", row.user, locked)
        with self._database.write() as connection:
            if row.totp is not None and not self._code_is_good(connection, row, code, now):
                raise NotLetIn("code", row.user, locked)
            mine = (attempts.c.account == name) & (attempts.c.device == device)
            connection.execute(delete(attempts).where(mine))
            return _account(row, _codes_left(connection, name))

    def list(self) -> list[Account]:
        """All accounts, by name."""
        codes = select(recovery_codes.c.account, func.count()).group_by(recovery_codes.c.account)
        with self._database.read() as connection:
            left = {str(account): int(count) for account, count in connection.execute(codes)}
            rows = connection.execute(select(accounts).order_by("name")).all()
        return [_account(row, left.get(row.name, 0)) for row in rows]

    def has(self, name: str) -> bool:
        """Whether there is an account of that name."""
        with self._database.read() as connection:
            return _row(connection, name) is not None

    def find(self, name: str) -> Account:
        """One account. Raises NoSuchAccount."""
        with self._database.read() as connection:
            row = _row(connection, name)
            if row is None:
                raise NoSuchAccount(f"there is no local account {name!r}; see `regalia accounts list`")
            return _account(row, _codes_left(connection, name))

    def _code_is_good(self, connection: Connection, row: Row[Any], code: str, now: int) -> bool:
        """Whether a one-time or recovery code is right; it is used up with that."""
        secret = open_secret(row.totp, self._secret, row.name)
        step = step_of(secret, code.strip(), now // 1000, row.totp_used) if secret is not None else None
        if step is not None:
            unused = (accounts.c.name == row.name) & (accounts.c.totp_used < step)
            return connection.execute(update(accounts).where(unused).values(totp_used=step)).rowcount == 1
        if len(code) > 64:
            return False
        kept = hash_recovery(self._secret, row.name, code)
        same = (recovery_codes.c.account == row.name) & (recovery_codes.c.hash == kept)
        return connection.execute(delete(recovery_codes).where(same)).rowcount == 1


def add_account(connection: Connection, name: str, user: str, password: str, now: int) -> None:
    """Add an account with a hashed password."""
    values = {"name": name, "user": user, "password": password, "changed": now, "totp_used": 0}
    connection.execute(accounts.insert().values(**values))


def set_password(connection: Connection, name: str, password: str, now: int) -> None:
    """Give it another hashed password, and forget its failures."""
    connection.execute(
        update(accounts).where(accounts.c.name == name).values(password=password, changed=now, disabled=None)
    )
    connection.execute(delete(attempts).where(attempts.c.account == name))


def set_disabled(connection: Connection, name: str, disabled: int | None) -> None:
    """Disable it, or with None enable it."""
    connection.execute(update(accounts).where(accounts.c.name == name).values(disabled=disabled))


def set_totp(connection: Connection, name: str, sealed: bytes | None, codes: list[bytes]) -> None:
    """Give it the sealed secret of one-time codes and hashed recovery codes, or with None take them away."""
    connection.execute(update(accounts).where(accounts.c.name == name).values(totp=sealed, totp_used=0))
    connection.execute(delete(recovery_codes).where(recovery_codes.c.account == name))
    for code in codes:
        connection.execute(recovery_codes.insert().values(account=name, hash=code))


def _row(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(accounts).where(accounts.c.name == name)).one_or_none()


def _codes_left(connection: Connection, name: str) -> int:
    codes = select(func.count()).where(recovery_codes.c.account == name)
    return int(connection.execute(codes).scalar_one())


def _account(row: Row[Any], codes: int) -> Account:
    return Account(row.name, row.user, row.changed, row.totp is not None, codes, row.disabled)


def _charge(connection: Connection, name: str, device: str, now: int) -> Attempts | None:
    """Count an attempt as failed until it is known not to be; None if it has to wait."""
    mine = (attempts.c.account == name) & (attempts.c.device == device)
    row = connection.execute(select(attempts).where(mine)).one_or_none()
    before = Attempts() if row is None else Attempts(row.failures, row.last, row.until)
    if lockout.waits(before, now):
        return None
    after = lockout.failed(before, now)
    values = {"failures": after.failures, "last": after.last, "until": after.until}
    if row is None:
        connection.execute(attempts.insert().values(account=name, device=device, **values))
    else:
        connection.execute(update(attempts).where(mine).values(**values))
    return after
