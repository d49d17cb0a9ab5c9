"""Local accounts from outside: added, listed, disabled, reset, given one-time codes; each on record.

Secrets (a new password, the secret of one-time codes, recovery codes) are in the answer, once, and nowhere
else. Whoever may do this can sign in as the person afterwards; that it was done is on record, and with
one-time codes a new password alone does not let anybody in.
"""

import asyncio
import base64
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection

from regalia.errors import ApiError
from regalia.identity import Principal, require_at
from regalia.identity.signin import accounts, totp
from regalia.identity.signin.accounts import Account, Accounts, NoSuchAccount, account_name
from regalia.identity.signin.errors import SignInRefused
from regalia.identity.signin.passwords import SALT_BYTES, PasswordTooWeak, check_password, hash_password
from regalia.identity.signin.sessions import end_sessions
from regalia.instance.tenancy.operations import operation
from regalia.instance.tenancy.paging import PAGE, Asked, page
from regalia.instance.tenancy.people import NewUser, add_user, user
from regalia.instance.tenancy.tenancy import Tenancy

PASSWORD_BYTES = 15
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Password = Annotated[str, msgspec.Meta(max_length=1024)]


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account for a person: for `user`, who is there already, or for a new one with this address."""

    name: Text
    user: Annotated[str, msgspec.Meta(max_length=64)] = ""
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    organisation: Annotated[str, msgspec.Meta(max_length=64)] = "default"
    password: Password | None = None


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A password; without one, one is made and told."""

    password: Password | None = None


@operation("GET", "/accounts", "List local accounts", tag="sign-in", query=PAGE)
def _list(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    require_at(actor, "signin.manage", "")
    return page([{"id": one.name, **msgspec.structs.asdict(one)} for one in _accounts(at).list()], asked)


@operation("POST", "/accounts", "Add a local account", tag="sign-in", body=NewAccount)
async def _add(at: Tenancy, actor: Principal, _asked: Asked, body: NewAccount) -> object:
    require_at(actor, "signin.manage", "")
    name = _name(body.name)
    if await asyncio.to_thread(_accounts(at).has, name):
        raise ApiError(409, "exists_already", f"There is an account `{name}` already.", param="name")
    password = _password(at, body.password, name)
    if body.user:
        person = user(at, actor, body.user)
    else:
        email = body.email or f"{name}@local.invalid"
        person = await add_user(at, actor, NewUser(body.title or name, email, body.organisation))
    kept = await asyncio.to_thread(hash_password, password, at.random(SALT_BYTES))
    now = at.clock()

    def write(connection: Connection, _generation: int) -> None:
        accounts.add_account(connection, name, person.id, kept, now)

    await _change(at, "account_added", actor, person.id, write)
    return {"name": name, "user": person.id, "password": None if body.password else password}


@operation(
    "POST", "/accounts/{account}/reset", "Give an account another password", tag="sign-in", body=NewPassword
)
async def _reset(at: Tenancy, actor: Principal, asked: Asked, body: NewPassword) -> object:
    found = await _account(at, actor, asked)
    password = _password(at, body.password, found.name)
    kept = await asyncio.to_thread(hash_password, password, at.random(SALT_BYTES))
    now = at.clock()

    def write(connection: Connection, _generation: int) -> None:
        accounts.set_password(connection, found.name, kept, now)
        end_sessions(connection, found.user)

    await _change(at, "account_reset", actor, found.user, write)
    return {"name": found.name, "user": found.user, "password": None if body.password else password}


@operation("POST", "/accounts/{account}/disable", "Let nobody in with an account", tag="sign-in")
async def _disable(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = await _account(at, actor, asked)
    now = at.clock()

    def write(connection: Connection, _generation: int) -> None:
        accounts.set_disabled(connection, found.name, now)
        end_sessions(connection, found.user)

    await _change(at, "account_disabled", actor, found.user, write)
    return {"name": found.name, "user": found.user, "disabled": now}


@operation("POST", "/accounts/{account}/enable", "Let people in again with an account", tag="sign-in")
async def _enable(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = await _account(at, actor, asked)

    def write(connection: Connection, _generation: int) -> None:
        accounts.set_disabled(connection, found.name, None)

    await _change(at, "account_enabled", actor, found.user, write)
    return {"name": found.name, "user": found.user, "disabled": None}


@operation("POST", "/accounts/{account}/totp", "Give an account one-time codes", tag="sign-in")
async def _enrol(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = await _account(at, actor, asked)
    secret = at.random(totp.SECRET_BYTES)
    sealed = totp.seal_secret(secret, at.secret, found.name, at.random(12))
    codes = [totp.recovery_code(at.random(totp.RECOVERY_BYTES)) for _ in range(totp.RECOVERY_CODES)]
    kept = [totp.hash_recovery(at.secret, found.name, code) for code in codes]

    def write(connection: Connection, _generation: int) -> None:
        accounts.set_totp(connection, found.name, sealed, kept)

    await _change(at, "account_totp_enrolled", actor, found.user, write)
    return {
        "name": found.name,
        "secret": base64.b32encode(secret).decode(),
        "uri": totp.enrolment_uri(secret, found.name, "Regalia"),
        "recovery_codes": codes,
    }


@operation("POST", "/accounts/{account}/totp/remove", "Take an account's one-time codes away", tag="sign-in")
async def _unenrol(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    found = await _account(at, actor, asked)

    def write(connection: Connection, _generation: int) -> None:
        accounts.set_totp(connection, found.name, None, [])
        end_sessions(connection, found.user)

    await _change(at, "account_totp_removed", actor, found.user, write)
    return {"name": found.name, "totp": False}


async def _account(at: Tenancy, actor: Principal, asked: Asked) -> Account:
    require_at(actor, "signin.manage", "")
    try:
        return await asyncio.to_thread(_accounts(at).find, _name(asked["account"]))
    except NoSuchAccount as error:
        raise ApiError(404, "account_not_found", f"{error}.", param="account") from error


async def _change(at: Tenancy, action: str, actor: Principal, subject: str, write: Any) -> None:
    await at.change(action, actor, {"subject": at.who(f"user:{subject}")}, write)


def _accounts(at: Tenancy) -> Accounts:
    return Accounts(at.database, at.secret)


def _name(text: str) -> str:
    try:
        return account_name(text)
    except SignInRefused as error:
        raise ApiError(
            400, "invalid_value", "`name` must be 1 to 128 printable characters.", param="name"
        ) from error


def _password(at: Tenancy, given: str | None, name: str) -> str:
    """The password that was given, checked, or a new one of 120 random bits."""
    if given is None:
        text = base64.b32encode(at.random(PASSWORD_BYTES)).decode().lower()
        return "-".join(text[at_ : at_ + 6] for at_ in range(0, 24, 6))
    try:
        check_password(given, name)
    except PasswordTooWeak as error:
        raise ApiError(400, "invalid_value", f"{error}.", param="password") from error
    return given
