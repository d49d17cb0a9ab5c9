"""Browser sessions: a random token in a cookie, of which the database keeps a keyed hash.

A session ends when it was idle for too long, at its absolute age, when its user signs out or is
deprovisioned. Every sign-in makes a new token; one that a browser brings along is never taken over. The CSRF
token is derived from the session's own, so that it ends with it and no other session's will do.
"""

import base64
import hmac
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select, update

from regalia.storage import Database
from regalia.storage.schema.signin import sessions, signin_states

TOKEN_BYTES: Final = 32
SEEN_EVERY_MS: Final = 60_000
"""How often the database is told that a session is used."""
MAX_PER_USER: Final = 20


class Session(msgspec.Struct, frozen=True):
    """A session that is good. `provider` is empty for a local account; times in ms."""

    id: str
    user: str
    provider: str
    created: int
    expires: int
    csrf: str


class Sessions:
    """The sessions in the database. Every method is one short transaction."""

    def __init__(self, database: Database, secret: bytes, idle_ms: int, absolute_ms: int) -> None:
        self._database = database
        self._secret = secret
        self._idle_ms = idle_ms
        self._absolute_ms = absolute_ms

    def begin(self, user: str, provider: str, now: int, random: bytes) -> tuple[str, Session]:
        """A new session from TOKEN_BYTES random bytes: the cookie's token, and the session.

        The user's oldest sessions end where there are more than MAX_PER_USER.
        """
        if len(random) != TOKEN_BYTES:
            raise ValueError(f"a session needs {TOKEN_BYTES} random bytes, got {len(random)}")
        token = _token(random)
        session = Session(self._id(token), user, provider, now, now + self._absolute_ms, self.csrf(token))
        with self._database.write() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires <= now))
            mine = select(sessions.c.hash).where(sessions.c.user == user).order_by(sessions.c.created.desc())
            old = connection.execute(mine.offset(MAX_PER_USER - 1)).scalars().all()
            connection.execute(delete(sessions).where(sessions.c.hash.in_(old)))
            connection.execute(
                sessions.insert().values(
                    hash=self._hash(token),
                    id=session.id,
                    user=user,
                    provider=provider,
                    created=now,
                    seen=now,
                    expires=session.expires,
                )
            )
        return token, session

    def find(self, token: str, now: int) -> Session | None:
        """The session of a cookie, None if there is none or it is over."""
        if not 0 < len(token) <= 128:
            return None
        key = self._hash(token)
        with self._database.read() as connection:
            row = connection.execute(select(sessions).where(sessions.c.hash == key)).one_or_none()
        if row is None or now >= row.expires or now - row.seen >= self._idle_ms:
            return None
        if now - row.seen >= min(SEEN_EVERY_MS, self._idle_ms // 2):
            with self._database.write() as connection:
                connection.execute(update(sessions).where(sessions.c.hash == key).values(seen=now))
        return Session(row.id, row.user, row.provider, row.created, row.expires, self.csrf(token))

    def end(self, token: str) -> None:
        """End one session."""
        with self._database.write() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == self._hash(token)))

    def end_all_of(self, user: str) -> int:
        """End all sessions of a user; how many there were."""
        with self._database.write() as connection:
            return end_sessions(connection, user)

    def take_state(self, state: str, now: int, expires: int) -> bool:
        """Whether this state comes back for the first time; from now on it has."""
        key = hmac.digest(self._secret, b"regalia/state/v1\0" + state.encode(), "sha256")
        with self._database.write() as connection:
            connection.execute(delete(signin_states).where(signin_states.c.expires <= now))
            if connection.execute(select(signin_states).where(signin_states.c.hash == key)).first():
                return False
            connection.execute(signin_states.insert().values(hash=key, expires=expires))
            return True

    def id_of(self, random: bytes) -> str:
        """The id of the session that `begin` makes from these bytes, for its record."""
        return self._id(_token(random))

    def csrf(self, token: str) -> str:
        """The CSRF token that goes with a cookie's token."""
        return hmac.digest(self._secret, b"regalia/csrf/v1\0" + token.encode(), "sha256").hex()

    def csrf_matches(self, token: str, given: str) -> bool:
        """Whether a CSRF token is the one of this cookie."""
        return hmac.compare_digest(self.csrf(token).encode(), given.encode(errors="replace"))

    def _hash(self, token: str) -> bytes:
        return hmac.digest(self._secret, b"regalia/session/v1\0" + token.encode(errors="replace"), "sha256")

    def _id(self, token: str) -> str:
        return (
            "sess_"
            + hmac.digest(self._secret, b"regalia/session-id/v1\0" + token.encode(), "sha256")[:10].hex()
        )


def end_sessions(connection: Connection, user: str) -> int:
    """End all sessions of a user in a transaction of the caller's; how many there were."""
    return connection.execute(delete(sessions).where(sessions.c.user == user)).rowcount


def _token(random: bytes) -> str:
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()
