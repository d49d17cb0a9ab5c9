"""The root key inside a PKCS#11 token: it never leaves it; project keys go in and come out wrapped.

Needs the extra `regalia[pkcs11]`. The key is an AES-256 secret key, sensitive and not extractable, named
by a PKCS#11 URI (RFC 7512) with `token`, `object`, `module-path` and `pin-source`, a file that only its
owner may read. Tokens that know CKM_AES_GCM bind a project key to its context as associated data. Others
wrap it with CKM_AES_KEY_WRAP_PAD (RFC 5649) together with a hash of its context.
"""

import hmac
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from regalia.vault.errors import RootKeyError
from regalia.vault.roots import Random, read_private
from regalia.vault.sealing import NONCE_BYTES, SECRET_BYTES

try:
    import pkcs11
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
    from pkcs11.types import Session
except ImportError as error:
    raise RootKeyError("a root key in a token needs python-pkcs11: pip install 'regalia[pkcs11]'") from error

_GCM, _KEY_WRAP = b"\x01", b"\x02"
_ATTRIBUTES = {"token", "object", "module-path", "pin-source"}
_PASSING: dict[Attribute, Any] = {  # an object of this session, whose value may be read
    Attribute.TOKEN: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
Result = TypeVar("Result")


class TokenKey(msgspec.Struct, frozen=True):
    """Where a key is: the module's path, the token's and the key's labels, the PIN's file."""

    module: str
    token: str
    label: str
    pin: Path

    @classmethod
    def parse(cls, uri: str) -> "TokenKey":
        """Read a PKCS#11 URI. Raises RootKeyError."""
        scheme, _, rest = uri.partition(":")
        pairs = [part.partition("=") for part in rest.replace("?", ";").replace("&", ";").split(";")]
        found = {name: unquote(value) for name, _, value in pairs}
        if scheme != "pkcs11" or found.keys() != _ATTRIBUTES or len(pairs) != len(found):
            raise RootKeyError(
                "a root key in a token is written pkcs11:token=TOKEN;object=KEY"
                "?module-path=/path/module.so&pin-source=/path/pin"
            )
        pin = Path(found["pin-source"].removeprefix("file:"))
        return cls(found["module-path"], found["token"], found["object"], pin)


class TokenRoot:
    """A root key in a token. One session, one thread at a time; a lost session is opened again once."""

    def __init__(self, where: TokenKey, *, random: Random = os.urandom, gcm: bool | None = None) -> None:
        """`gcm` chooses the mechanism that wraps; None asks the token."""
        self._where = where
        self._random = random
        self._gcm = gcm
        self._lock = threading.Lock()
        self._session: Session | None = None
        self.id = "pkcs11:" + sha256(f"{where.token}\0{where.label}".encode()).hexdigest()[:32]
        self._ask(lambda key: None)

    @classmethod
    def from_uri(cls, uri: str) -> "TokenRoot":
        """The root key that a PKCS#11 URI names. Raises RootKeyError."""
        return cls(TokenKey.parse(uri))

    @classmethod
    def create(cls, uri: str) -> "TokenRoot":
        """Make the key in the token, and open it. Raises RootKeyError."""
        where = TokenKey.parse(uri)
        try:
            with _log_in(where, writing=True) as session:
                if list(session.get_objects({Attribute.LABEL: where.label})):
                    raise RootKeyError(f"the token {where.token!r} has a key {where.label!r} already")
                session.generate_key(
                    KeyType.AES,
                    8 * SECRET_BYTES,
                    label=where.label,
                    id=os.urandom(8),
                    store=True,
                    template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
                )
        except pkcs11.PKCS11Error as error:
            raise _refused(where, error) from error
        return cls(where)

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Wrap a project key inside the token."""
        return self._ask(lambda key: self._wrap(key, secret, context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Unwrap a project key inside the token."""
        return self._ask(lambda key: self._unwrap(key, wrapped, context))

    def close(self) -> None:
        """End the session."""
        with self._lock:
            self._hang_up()

    def _wrap(self, key: Any, secret: bytes, context: bytes) -> bytes:
        if self._gcm is None:
            self._gcm = Mechanism.AES_GCM in key.session.token.slot.get_mechanisms()
        if self._gcm:
            nonce = self._random(NONCE_BYTES)
            sealed = key.encrypt(
                secret, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context)
            )
            return _GCM + nonce + bytes(sealed)
        inner = key.session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                Attribute.VALUE: secret + sha256(context).digest(),
                **_PASSING,
            }
        )
        try:
            return _KEY_WRAP + bytes(key.wrap_key(inner, mechanism=Mechanism.AES_KEY_WRAP_PAD))
        finally:
            inner.destroy()

    def _unwrap(self, key: Any, wrapped: bytes, context: bytes) -> bytes:
        if wrapped[:1] == _GCM:
            nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
            opened = key.decrypt(
                sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context)
            )
            return bytes(opened)
        inner = key.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            wrapped[1:],
            mechanism=Mechanism.AES_KEY_WRAP_PAD,
            template=_PASSING,
        )
        try:
            value = bytes(inner[Attribute.VALUE])
        finally:
            inner.destroy()
        if not hmac.compare_digest(value[SECRET_BYTES:], sha256(context).digest()):
            raise RootKeyError("a wrapped project key is not the one that belongs in its place")
        return value[:SECRET_BYTES]

    def _ask(self, question: Callable[[Any], Result]) -> Result:
        """Ask the token; if it fails, once more in a new session."""
        with self._lock:
            try:
                return question(self._key())
            except pkcs11.PKCS11Error:
                self._hang_up()
            try:
                return question(self._key())
            except pkcs11.PKCS11Error as error:
                self._hang_up()
                raise _refused(self._where, error) from error

    def _key(self) -> Any:  # what it can do, the token says; its type does not
        if self._session is None:
            self._session = _log_in(self._where)
        return self._session.get_key(ObjectClass.SECRET_KEY, KeyType.AES, self._where.label)

    def _hang_up(self) -> None:
        if self._session is not None:
            with suppress(pkcs11.PKCS11Error):  # it may be lost: that is why it ends
                self._session.close()
            self._session = None


def _log_in(where: TokenKey, writing: bool = False) -> Session:
    pin = read_private(where.pin)
    token = pkcs11.lib(where.module).get_token(token_label=where.token)
    try:
        return token.open(rw=writing, user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:  # another session of this process is; logins are per token
        return token.open(rw=writing)


def _refused(where: TokenKey, error: Exception) -> RootKeyError:
    reason = str(error) or type(error).__name__
    return RootKeyError(f"the root key {where.label!r} in the token {where.token!r} can't be used: {reason}")
