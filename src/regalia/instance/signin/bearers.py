"""API bearer tokens of the configured providers: a JWT access token becomes the person it is for.

What was checked once is remembered until the token expires or the provider's keys change, so that a call
costs a look-up in memory. Whether the person still has access is looked up each time.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256

import msgspec

from regalia.clock import now_ms
from regalia.config import IdentityProvider
from regalia.errors import ApiError
from regalia.identity import Principal, allowed
from regalia.identity.signin.errors import ProviderUnusable, SignInRefused, TokenRefused, invalid_token
from regalia.identity.signin.issuer import Issuer
from regalia.identity.signin.tokens import LEEWAY_S, Claims, Keys, access_token, issuer_of, key_of
from regalia.identity.tenants import Tenants
from regalia.instance.signin.people import Person, map_token_groups, person_of
from regalia.instance.signin.recording import Recording
from regalia.instance.tenancy.tenancy import Tenancy

MAX_KNOWN = 10_000


class Known(msgspec.Struct, frozen=True):
    """A token that was checked: whose it is, until when (s), and with which keys."""

    user: str
    expires: int
    provider: str
    keys: Keys


class Bearers:
    """The tokens of all providers that have an `audience`. For use on one event loop.

    The groups of `scim_provider`'s people are those that it keeps by SCIM, not those in its tokens.
    """

    def __init__(
        self,
        at: Tenancy,
        issuers: Mapping[str, Issuer],
        recording: Recording,
        scim_provider: str = "",
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._at = at
        self._issuers = {one.provider.issuer: one for one in issuers.values() if one.provider.audience}
        self._recording = recording
        self._scim_provider = scim_provider
        self._clock = clock
        self._known: dict[bytes, Known] = {}

    async def principal(self, token: str, project: str = "") -> Principal:
        """The principal of a token, at work in `project`. Raises ApiError 401, 403, 404, 503."""
        try:
            known = await self._checked(token)
        except TokenRefused as error:
            await self._recording.refused("bearer", error.reason)
            raise invalid_token(error) from error
        except SignInRefused as error:
            await self._recording.refused("bearer", error.reason)
            raise ApiError(401, "invalid_token", str(error)) from error
        except ProviderUnusable as error:
            raise ApiError(
                503, "provider_unavailable", "The identity provider does not answer.", retry_after=5
            ) from error
        return at_work(self._at.tenants, known.user, project, f"token:{known.provider}")

    async def _checked(self, token: str) -> Known:
        digest = sha256(token.encode()).digest()
        kid = key_of(token)
        known = self._known.get(digest)
        now_s = self._clock() // 1000
        if known is not None and now_s < known.expires + LEEWAY_S:
            issuer = self._issuers[self._by_name(known.provider)]
            if await issuer.keys(kid) is known.keys:
                return known
        issuer = self._of(token)
        provider, keys = issuer.provider, await issuer.keys(kid)
        claims = access_token(
            token,
            keys,
            issuer=provider.issuer,
            audience=provider.audience,
            token_type=provider.access_token_type,
            now_s=now_s,
        )
        user = await self._person(provider, claims)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[digest] = Known(user, claims.expires, provider.name, keys)
        return self._known[digest]

    async def _person(self, provider: IdentityProvider, claims: Claims) -> str:
        found = await person_of(self._at, provider, Person.of(claims))
        if provider.name != self._scim_provider and provider.groups_claim in claims.all:
            await map_token_groups(self._at, provider, found.id, claims)
        return found.id

    def _of(self, token: str) -> Issuer:
        found = self._issuers.get(issuer_of(token))
        if found is None:
            raise TokenRefused("wrong_issuer")
        return found

    def _by_name(self, name: str) -> str:
        return next(issuer for issuer, one in self._issuers.items() if one.provider.name == name)


def at_work(tenants: Tenants, user: str, project: str, key_id: str) -> Principal:
    """A person at work in a project; without one, in the only one where they may ask the models, if it is.

    Raises ApiError 401 for who has no access any more, 404 for a project they have nothing to do with.
    """
    wanted = project or _only_project(tenants, user)
    found = tenants.principal_of_user(user, wanted, key_id)
    if found is not None:
        return found
    if wanted and tenants.principal_of_user(user, "", key_id) is not None:
        raise ApiError(404, "project_not_found", f"There is no project `{wanted[:80]}`.", param="project")
    raise ApiError(401, "no_access", "You have no access here any more; ask your administrator.")


def _only_project(tenants: Tenants, user: str) -> str:
    places = {
        (one.organisation, one.project) for one in tenants.held_of(user) if allowed({one.role}, "call.make")
    }
    if any(not project for _, project in places):  # a whole organisation, or all of them
        found = [
            one.id
            for one in tenants.projects.values()
            if one.archived is None
            and any(where in ("", one.organisation) and p in ("", one.id) for where, p in places)
        ]
    else:
        found = [project for _, project in places]
    return found[0] if len(found) == 1 else ""
