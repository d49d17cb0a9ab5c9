"""ID tokens and access tokens: believed only if everything about them is as it must be. No I/O.

The rules, for both (RFC 8725, OpenID Connect Core 3.1.3.7, RFC 9068):

1. A token is a compact JWS of at most 16 KB. `alg` is one of `ALGORITHMS`: asymmetric, never `none`.
2. `kid` names a key of the issuer's own key set, and the key is of the algorithm's type and for signing.
   Keys or addresses that the token itself brings (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
3. The signature verifies.
4. `typ` says which kind of token it is, so that none passes for the other.
5. `iss` is the issuer, to the letter. `exp` is in the future; `nbf` and `iat` are not.
6. ID tokens: `aud` has our client id, and nobody else's unless `azp` is ours; `nonce` is the flow's.
   Access tokens: `aud` has the audience that is configured for this API.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from joserfc import jwk, jws
from joserfc.errors import JoseError

from regalia.identity.signin.errors import ProviderUnusable, TokenRefused

ALGORITHMS: Final = {
    **dict.fromkeys(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], "RSA"),
    **dict.fromkeys(["ES256", "ES384", "ES512"], "EC"),
}
"""The signature algorithms taken, and the key type of each."""

LEEWAY_S: Final = 30
MAX_TOKEN: Final = 16 * 1024
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
_ID_TYPES: Final = {None, "jwt"}

Keys = Mapping[str, jwk.Key]
Claim = TypeVar("Claim")


class Registry(jws.JWSRegistry):
    """joserfc's checks, with room for headers that carry a certificate chain."""

    max_header_length = 8 * 1024
    max_payload_length = MAX_TOKEN


_REGISTRY = Registry(algorithms=list(ALGORITHMS), strict_check_header=False)


class Claims(msgspec.Struct, frozen=True):
    """What a believed token says: `subject` within its issuer, until when (s), and everything else."""

    subject: str
    expires: int
    all: dict[str, Any]

    def text(self, name: str) -> str:
        """A claim that is a short string, otherwise nothing."""
        value = self.all.get(name)
        return value if isinstance(value, str) and len(value) <= 1024 else ""

    def texts(self, name: str) -> frozenset[str]:
        """A claim that is a list of strings, or one string."""
        value = self.all.get(name)
        values = [value] if isinstance(value, str) else value
        return frozenset(v for v in values if isinstance(v, str)) if isinstance(values, list) else frozenset()


def parse_keys(document: bytes) -> dict[str, jwk.Key]:
    """The signing keys of a JWKS by their `kid`; others are left out. Raises ProviderUnusable."""
    try:
        listed = msgspec.json.decode(document, type=dict[str, Any])["keys"]
        found = [key for key in listed if isinstance(key, dict)]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ProviderUnusable("the provider's key set is not a JWKS") from error
    if len(found) > MAX_KEYS:
        raise ProviderUnusable(f"the provider's key set has more than {MAX_KEYS} keys")
    keys: dict[str, jwk.Key] = {}
    for key in found:
        kid = key.get("kid")
        if isinstance(kid, str) and key.get("use", "sig") == "sig" and _usable(key):
            if kid in keys:
                raise ProviderUnusable("the provider's key set has two keys of one name")
            keys[kid] = jwk.import_key({name: value for name, value in key.items() if name != "key_ops"})
    return keys


def _usable(key: dict[str, Any]) -> bool:
    if key.get("kty") not in ALGORITHMS.values() or key.get("alg", "RS256") not in ALGORITHMS:
        return False
    try:
        imported = jwk.import_key(key)
    except (JoseError, ValueError, TypeError, KeyError):
        return False  # a curve or form that is not known here: other keys may do
    return not isinstance(imported, jwk.RSAKey) or imported.public_key.key_size >= MIN_RSA_BITS


def key_of(token: str) -> str:
    """The `kid` of a token that has not been checked. Raises TokenRefused."""
    return str(_header(token)["kid"])


def issuer_of(token: str) -> str:
    """Who a token says it is from, to choose whose keys to check it with. Raises TokenRefused."""
    _header(token)
    try:
        payload = jws.extract_compact(token.encode(), registry=_REGISTRY).payload
        return msgspec.json.decode(payload or b"", type=_Issued).iss
    except (JoseError, ValueError, msgspec.DecodeError) as error:
        raise TokenRefused("malformed") from error


def id_token(token: str, keys: Keys, *, issuer: str, client_id: str, nonce: str, now_s: int) -> Claims:
    """The claims of an ID token from the token endpoint. Raises TokenRefused."""
    header, claims = _verified(token, keys)
    if _type(header) not in _ID_TYPES:
        raise TokenRefused("type", "not an ID token")
    believed = _believed(claims, issuer, client_id, now_s)
    audiences = believed.texts("aud")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise TokenRefused("wrong_audience", "azp")
    if "iat" not in claims:
        raise TokenRefused("malformed", "no iat")
    if not hmac.compare_digest(believed.text("nonce").encode(), nonce.encode()):
        raise TokenRefused("nonce")
    return believed


def access_token(
    token: str, keys: Keys, *, issuer: str, audience: str, token_type: str, now_s: int
) -> Claims:
    """The claims of an access token for this API. Raises TokenRefused."""
    header, claims = _verified(token, keys)
    found = _type(header)
    wanted = {"at+jwt"} if token_type == "at+jwt" else {"at+jwt", *_ID_TYPES}  # noqa: S105 - a media type
    if found not in wanted or (found != "at+jwt" and "nonce" in claims):
        raise TokenRefused("type", "not an access token")
    if not audience:
        raise TokenRefused("wrong_audience", "no access token is taken from this provider")
    return _believed(claims, issuer, audience, now_s)


class _Issued(msgspec.Struct):
    iss: str


def _type(header: Mapping[str, Any]) -> str | None:
    found = header.get("typ")
    if found is None:
        return None
    return str(found).lower().removeprefix("application/")


def _header(token: str) -> dict[str, Any]:
    """The header of a token, its algorithm allowed and its key named."""
    if len(token) > MAX_TOKEN or token.count(".") != 2 or not token.isascii():
        raise TokenRefused("malformed")
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRY).headers()
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise TokenRefused("malformed") from error
    if header.get("alg") not in ALGORITHMS:
        raise TokenRefused("algorithm", str(header.get("alg"))[:20])
    if not isinstance(header.get("kid"), str):
        raise TokenRefused("unknown_key", "no kid")
    if "crit" in header or "b64" in header:
        raise TokenRefused("malformed", "crit")
    return dict(header)


def _verified(token: str, keys: Keys) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that one of the keys has signed."""
    header = _header(token)
    key = keys.get(header["kid"])
    if key is None:
        raise TokenRefused("unknown_key")
    own = key.get("alg")
    if key.key_type != ALGORITHMS[header["alg"]] or own not in (None, header["alg"]):
        raise TokenRefused("algorithm", "not the key's")
    try:
        signed = jws.deserialize_compact(token.encode(), key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused("signature") from error
    try:
        return header, msgspec.json.decode(signed.payload or b"", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenRefused("malformed") from error


def _believed(claims: dict[str, Any], issuer: str, audience: str, now_s: int) -> Claims:
    if claims.get("iss") != issuer:
        raise TokenRefused("wrong_issuer")
    expires = _second(claims, "exp")
    subject = claims.get("sub")
    if expires is None or not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise TokenRefused("malformed", "no exp or sub")
    believed = Claims(subject, expires, claims)
    if audience not in believed.texts("aud"):
        raise TokenRefused("wrong_audience")
    if now_s >= expires + LEEWAY_S:
        raise TokenRefused("expired")
    for name in ("nbf", "iat"):
        begins = _second(claims, name)
        if begins is not None and begins > now_s + LEEWAY_S:
            raise TokenRefused("not_yet_valid", name)
    return believed


def _second(claims: Mapping[str, Any], name: str) -> int | None:
    """A NumericDate in seconds, None if there is none. Raises TokenRefused."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TokenRefused("malformed", name)
    return int(value)
