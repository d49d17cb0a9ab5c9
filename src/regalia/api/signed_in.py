"""Requests by those who signed in: a session's cookie or a provider's access token instead of an API key.

Before such a request is handled, whoever it is from is looked up; the request then goes on with a key that is
good for it alone, so that everything behind knows one way to be asked. A cookie counts only where no key is
given, and for a request that changes something only with the session's CSRF token in `x-csrf-token`, which no
other site can read. `openai-project` says which project a person is at work in.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from regalia.api.connection import Scope
from regalia.api.cookies import SESSION, cookie_name, read_cookie
from regalia.errors import ApiError
from regalia.identity import KeyRing, Principal
from regalia.instance.signin import SignIn

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_BEARER = 16 * 1024
_OPEN = ("/signin", "/signout", "/v1/regalia/session", "/scim/")
"""What reads its cookies itself."""


class SignedInRequests:
    """Knows whom requests are from while they are handled."""

    def __init__(self, at: SignIn, keys: KeyRing) -> None:
        self._at = at
        self._present: dict[bytes, Principal] = {}
        self._cookie = cookie_name(SESSION, at.secure).encode() + b"="
        keys.also(self._present.get)

    def wanted(self, scope: Scope) -> bool:
        """Whether this request is by someone who signed in, as far as its headers tell."""
        authorization, cookie = None, False
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"cookie":
                cookie = self._cookie in value
        if authorization is not None:
            if authorization[:9].lower() != b"bearer ey":  # how every JWT begins
                return False
        elif not cookie:
            return False
        return not scope["path"].startswith(_OPEN)

    async def identify(self, scope: Scope) -> Principal | None:
        """Who a wanted request is from; None for a cookie that is no session's. Raises ApiError."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        project = headers.get(b"openai-project", b"").decode("latin-1")
        if authorization := headers.get(b"authorization"):
            if len(authorization) > _MAX_BEARER:
                raise ApiError(401, "invalid_token", "This access token is too long.")
            return await self._at.of_bearer(authorization[7:].strip().decode("latin-1"), project)
        if headers.get(b"sec-fetch-site") == b"cross-site":
            return None  # a link on another site must not act for whoever follows it
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        token = read_cookie(cookies, SESSION, self._at.secure)
        found = await self._at.of_session(token, project) if token else None
        if found is not None and scope["method"] not in _SAFE:
            self._refuse_forged(headers, token)
        return found

    @contextmanager
    def present(self, scope: Scope, principal: Principal) -> Iterator[bytes]:
        """The `Authorization` with which the request goes on, in the scope too; good while the block runs."""
        key = b"session:" + os.urandom(24).hex().encode()
        authorization = b"Bearer " + key
        others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
        scope["headers"] = [*others, (b"authorization", authorization)]
        self._present[key] = principal
        try:
            yield authorization
        finally:
            del self._present[key]

    def _refuse_forged(self, headers: dict[bytes, bytes], token: str) -> None:
        origin = headers.get(b"origin")
        given = headers.get(b"x-csrf-token", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1")
        foreign = origin is not None and not self._at.is_own(origin.decode("latin-1"), host)
        if foreign or not self._at.csrf_matches(token, given):
            raise ApiError(
                403,
                "csrf",
                "A request with a session needs its CSRF token in `x-csrf-token`.",
                param="x-csrf-token",
            )
