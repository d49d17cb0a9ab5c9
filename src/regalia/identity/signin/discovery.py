"""What a provider says of itself (OpenID Connect Discovery 1.0), believed where it may be. No I/O.

The document must name the configured issuer to the letter. Its endpoints must be on the issuer's own host, or
on one that the operator has listed; over https, unless the issuer itself is on loopback.
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from regalia.config import IdentityProvider
from regalia.identity.signin.errors import ProviderUnusable

WELL_KNOWN = "/.well-known/openid-configuration"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Metadata(msgspec.Struct, frozen=True):
    """A provider's endpoints and what it can do."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] = ("S256",)
    authorization_response_iss_parameter_supported: bool = False


def discovery_url(provider: IdentityProvider) -> str:
    """Where the provider's document is. Raises ProviderUnusable for an issuer without https."""
    _check(provider, provider.issuer, "issuer")
    return provider.issuer.rstrip("/") + WELL_KNOWN


def read_metadata(provider: IdentityProvider, document: bytes) -> Metadata:
    """The provider's document, checked. Raises ProviderUnusable."""
    try:
        said: dict[str, Any] = msgspec.json.decode(document, type=dict[str, Any])
        known = {name: said[name] for name in Metadata.__struct_fields__ if said.get(name) is not None}
        metadata = msgspec.convert(known, Metadata)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ProviderUnusable(f"the discovery document of {provider.name} is not usable: {error}") from error
    if metadata.issuer != provider.issuer:
        raise ProviderUnusable(
            f"the discovery document of {provider.name} is of the issuer {metadata.issuer[:200]!r}, "
            f"not {provider.issuer!r}: set `issuer` to the former, to the letter"
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"):
        if url := getattr(metadata, name):
            _check(provider, url, name)
    if "S256" not in metadata.code_challenge_methods_supported:
        raise ProviderUnusable(f"the provider {provider.name} does not support PKCE with S256")
    return metadata


def _check(provider: IdentityProvider, url: str, what: str) -> None:
    parts, issuer = urlsplit(url), urlsplit(provider.issuer)
    allowed = {issuer.netloc.lower(), *(host.lower() for host in provider.hosts)}
    if "@" in parts.netloc or parts.netloc.lower() not in allowed:
        raise ProviderUnusable(
            f"the {what} of {provider.name} is on {parts.netloc[:100]!r}, not on the issuer's host: "
            "list it in `hosts` if that is right"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and issuer.hostname in _LOOPBACK):
        raise ProviderUnusable(f"the {what} of {provider.name} must be https://…")
