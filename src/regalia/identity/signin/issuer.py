"""A provider on the network: its document, its keys, its token endpoint. Nothing else is connected to.

Documents and keys are kept for an hour. A token with an unknown `kid` has the keys fetched again, at most
once in 30 seconds, so that a provider may rotate its keys at any time and nobody can make us hammer it. When
a provider can't be reached, what is known of it stays good for a day.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from regalia.config import IdentityProvider
from regalia.identity.signin.discovery import Metadata, discovery_url, read_metadata
from regalia.identity.signin.errors import ProviderUnusable, SignInRefused
from regalia.identity.signin.tokens import Keys, parse_keys

_LOG = structlog.get_logger()
TIMEOUT_S = 10.0
MAX_DOCUMENT = 512 * 1024
FRESH_S = 3600.0
STALE_S = 86_400.0
ROTATION_S = 30.0
"""The shortest time between two fetches while something usable is known."""

Clock = Callable[[], float]


class Tokens(msgspec.Struct, frozen=True):
    """What the token endpoint gave for a code."""

    id_token: str
    access_token: str = ""


class Issuer:
    """One configured provider. For use on one event loop; `clock` is monotonic, in seconds."""

    def __init__(self, provider: IdentityProvider, clock: Clock) -> None:
        self.provider = provider
        self._clock = clock
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, Keys] | None = None
        self._tried_metadata = self._tried_keys = float("-inf")
        self._turn = asyncio.Lock()
        self._client: aiohttp.ClientSession | None = None

    async def metadata(self) -> Metadata:
        """The provider's document. Raises ProviderUnusable."""
        known = self._metadata
        if self._is_due(known, self._tried_metadata):
            self._tried_metadata = self._clock()
            async with self._turn:
                if self._metadata is known:
                    await self._fetch_metadata()
        assert self._metadata is not None  # noqa: S101 - fetched, or raised
        return self._metadata[1]

    async def keys(self, kid: str) -> Keys:
        """The provider's keys, fetched again if `kid` is not among them. Raises ProviderUnusable."""
        known = self._keys
        if self._is_due(known, self._tried_keys, missing=known is None or kid not in known[1]):
            self._tried_keys = self._clock()  # at once: whoever comes meanwhile goes on with what is known
            metadata = await self.metadata()
            async with self._turn:
                if self._keys is known:
                    await self._fetch_keys(metadata)
        return self._keys[1] if self._keys is not None else {}

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for a code (RFC 6749 4.1.3, with PKCE). Raises SignInRefused, ProviderUnusable."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self.provider.client_id,
        }
        headers = {"accept": "application/json"}
        if self.provider.client_secret:
            if "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
                headers["authorization"] = self._basic()
            else:
                form["client_secret"] = self.provider.client_secret
        status, body = await self._ask("POST", metadata.token_endpoint, data=form, headers=headers)
        if status != 200:
            raise SignInRefused("code_refused", "The provider does not accept this sign-in; start again.")
        try:
            return msgspec.json.decode(body, type=Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProviderUnusable(f"the token endpoint of {self.provider.name} gave no ID token") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def _is_due(self, known: tuple[float, object] | None, tried: float, *, missing: bool = False) -> bool:
        """Whether to ask the provider now: nothing usable is known, or it is old and was not just tried."""
        now = self._clock()
        if known is None or now - known[0] > STALE_S:
            return True
        return (missing or now - known[0] > FRESH_S) and now - tried >= ROTATION_S

    async def _fetch_metadata(self) -> None:
        now = self._clock()
        try:
            body = await self._get(discovery_url(self.provider))
            self._metadata = now, read_metadata(self.provider, body)
        except ProviderUnusable as error:
            self._note(error, self._metadata)

    async def _fetch_keys(self, metadata: Metadata) -> None:
        now = self._clock()
        try:
            self._keys = now, parse_keys(await self._get(metadata.jwks_uri))
        except ProviderUnusable as error:
            self._note(error, self._keys)

    def _note(self, error: ProviderUnusable, known: tuple[float, object] | None) -> None:
        """Go on with what is known, unless it is nothing or too old."""
        _LOG.warning("an identity provider is not usable", provider=self.provider.name, reason=str(error))
        if known is None or self._clock() - known[0] > STALE_S:
            raise error

    async def _get(self, url: str) -> bytes:
        status, body = await self._ask("GET", url, headers={"accept": "application/json"})
        if status != 200:
            raise ProviderUnusable(f"{url} answered {status}")
        return body

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, bytes]:
        """One bounded request; redirects are not followed. Raises ProviderUnusable."""
        if self._client is None:
            self._client = self._new_client()
        try:
            async with self._client.request(method, url, allow_redirects=False, **options) as reply:
                body = bytearray()
                async for chunk in reply.content.iter_chunked(64 * 1024):
                    body += chunk
                    if len(body) > MAX_DOCUMENT:
                        raise ProviderUnusable(f"{url} answered with more than {MAX_DOCUMENT} bytes")
                return reply.status, bytes(body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ProviderUnusable(f"no answer from {url}: {error or type(error).__name__}") from error

    def _new_client(self) -> aiohttp.ClientSession:
        try:
            trusted = ssl.create_default_context(cafile=self.provider.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ProviderUnusable(f"can't read {self.provider.ca_file}: {error}") from error
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=8, ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    def _basic(self) -> str:
        """RFC 6749 2.3.1: both parts form-encoded before they are joined."""
        pair = f"{quote(self.provider.client_id, safe='')}:{quote(self.provider.client_secret, safe='')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
