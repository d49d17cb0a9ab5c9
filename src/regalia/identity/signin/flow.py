"""The authorization code flow with PKCE, as data: what is sent along, and what must come back. No I/O.

Between the two the browser keeps the flow in a cookie that only this server can open, so that nothing has to
be kept for those who never come back, and a state is good only in the browser that was sent away with it.
"""

import base64
import hmac
from hashlib import sha256
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from regalia.config import IdentityProvider
from regalia.identity.signin.discovery import Metadata
from regalia.identity.signin.errors import SignInRefused

LIFETIME_MS = 600_000
FLOW_RANDOM = 96
"""Random bytes a flow is made from: state, nonce and verifier, 32 each."""
_NONCE = 12
_MAX_COOKIE = 4096
_MAX_RETURN = 512
_PURPOSE = b"regalia/signin/flow/v1"


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """One sign-in under way at a provider; `expires` in ms."""

    provider: str
    state: str
    nonce: str
    verifier: str
    return_to: str
    expires: int


class Callback(msgspec.Struct, frozen=True):
    """The query with which a browser comes back."""

    state: str = ""
    code: str = ""
    iss: str = ""
    error: str = ""


def begin(provider: IdentityProvider, return_to: str, now_ms: int, random: bytes) -> Flow:
    """A new flow from FLOW_RANDOM random bytes."""
    if len(random) != FLOW_RANDOM:
        raise ValueError(f"a flow needs {FLOW_RANDOM} random bytes, got {len(random)}")
    state, nonce, verifier = (_base64url(random[at : at + 32]) for at in (0, 32, 64))
    return Flow(provider.name, state, nonce, verifier, local_path(return_to), now_ms + LIFETIME_MS)


def authorization_url(provider: IdentityProvider, metadata: Metadata, flow: Flow, redirect_uri: str) -> str:
    """Where the browser is sent."""
    scopes = dict.fromkeys(["openid", *provider.scopes])
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": flow.state,
        "nonce": flow.nonce,
        "code_challenge": _base64url(sha256(flow.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    return _with_query(metadata.authorization_endpoint, query)


def logout_url(provider: IdentityProvider, metadata: Metadata, return_url: str) -> str | None:
    """Where the browser signs out of the provider too (RP-initiated logout), None where that can't be."""
    if not metadata.end_session_endpoint:
        return None
    query = {"client_id": provider.client_id, "post_logout_redirect_uri": return_url}
    return _with_query(metadata.end_session_endpoint, query)


def check_callback(flow: Flow, callback: Callback, provider: IdentityProvider, metadata: Metadata) -> None:
    """Raise SignInRefused unless the browser comes back from where this flow sent it.

    The redirect URI is the provider's own and `iss` (RFC 9207) must be its issuer, against mix-up.
    """
    if flow.provider != provider.name:
        raise SignInRefused("mix_up", "This sign-in began at another provider; start again.")
    if not hmac.compare_digest(flow.state.encode(), callback.state.encode()):
        raise SignInRefused("state", "This sign-in was not begun here, or is over; start again.")
    if callback.iss != provider.issuer and (
        callback.iss or metadata.authorization_response_iss_parameter_supported
    ):
        raise SignInRefused("mix_up", "The answer is from another provider; start again.")
    if callback.error:
        raise SignInRefused("provider_said_no", "The provider did not sign you in.")
    if not callback.code:
        raise SignInRefused("no_code", "The provider's answer is not complete; start again.")


def seal_flow(flow: Flow, secret: bytes, random: bytes) -> str:
    """The cookie of a flow; `random` is 12 bytes."""
    if len(random) != _NONCE:
        raise ValueError(f"sealing needs {_NONCE} random bytes, got {len(random)}")
    sealed = AESGCM(_key(secret)).encrypt(random, msgspec.json.encode(flow), _PURPOSE)
    return _base64url(random + sealed)


def open_flow(cookie: str, secret: bytes, now_ms: int) -> Flow:
    """The flow in a cookie. Raises SignInRefused."""
    refused = SignInRefused("state", "This sign-in was not begun in this browser, or is over; start again.")
    if not 0 < len(cookie) <= _MAX_COOKIE or not cookie.isascii():
        raise refused
    try:
        data = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        if _base64url(data) != cookie:  # one spelling only
            raise refused
        flow = msgspec.json.decode(
            AESGCM(_key(secret)).decrypt(data[:_NONCE], data[_NONCE:], _PURPOSE), type=Flow
        )
    except (ValueError, InvalidTag, msgspec.DecodeError) as error:
        raise refused from error
    if now_ms >= flow.expires:
        raise SignInRefused("expired", "This sign-in took too long; start again.")
    return flow


def local_path(wanted: str) -> str:
    """A path of this server to go to after signing in; anything else becomes `/`."""
    plain = all(mark.isprintable() and mark not in "\\ " for mark in wanted) and wanted.isascii()
    if not plain or len(wanted) > _MAX_RETURN or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc or "//" in parts.path else wanted


def _with_query(url: str, query: dict[str, str]) -> str:
    return url + ("&" if "?" in url else "?") + urlencode(query)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key(secret: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE, "sha256")
