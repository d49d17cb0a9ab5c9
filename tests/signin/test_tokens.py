"""Which tokens are believed: each rule of `tokens` broken alone is enough to be refused."""

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jwt

from regalia.identity.signin.errors import ProviderUnusable, TokenRefused
from regalia.identity.signin.tokens import access_token, id_token, parse_keys
from signin.providing import new_key

NOW = 1_800_000_000
ISSUER = "https://login.example"
OURS = new_key("ours")
THEIRS = new_key("theirs")
EC = jwk.ECKey.import_key(ec.generate_private_key(ec.SECP256R1()), {"kid": "curve", "use": "sig"})
KEYS = parse_keys(json.dumps({"keys": [OURS.as_dict(private=False), EC.as_dict(private=False)]}).encode())
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "amina",
    "aud": "client",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n-0",
}
ACCESS: dict[str, Any] = {"iss": ISSUER, "sub": "amina", "aud": "https://api", "exp": NOW + 300, "iat": NOW}


def sign(claims: dict[str, Any], key: jwk.Key = OURS, **header: Any) -> str:
    named = {"alg": "RS256", "kid": key.kid, **header}
    return jwt.encode(
        {name: value for name, value in named.items() if value is not None},
        claims,
        key,
        algorithms=["RS256", "RS384", "PS256", "HS256", "ES256", "none"],
        default_type=None,
    )


def believed(token: str, nonce: str = "n-0") -> Any:
    return id_token(token, KEYS, issuer=ISSUER, client_id="client", nonce=nonce, now_s=NOW)


def accepted(token: str, token_type: str = "at+jwt") -> Any:  # noqa: S107 - a media type
    return access_token(token, KEYS, issuer=ISSUER, audience="https://api", token_type=token_type, now_s=NOW)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_token_that_keeps_all_rules_is_believed() -> None:
    assert believed(sign(CLAIMS)).subject == "amina"
    assert believed(sign(CLAIMS, typ="JWT")).subject == "amina"
    assert believed(sign({**CLAIMS, "aud": ["client"], "azp": "client"})).subject == "amina"
    assert believed(sign(CLAIMS, EC, alg="ES256")).subject == "amina"
    assert accepted(sign(ACCESS, typ="at+jwt")).subject == "amina"
    assert accepted(sign(ACCESS, typ="application/at+jwt")).subject == "amina"
    assert accepted(sign(ACCESS, typ="JWT"), "JWT").subject == "amina"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://login.example/"}, "wrong_issuer"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"aud": "another"}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": ["client", "another"]}, "wrong_audience"),
        ({"azp": "another"}, "wrong_audience"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": None}, "malformed"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"iat": None}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sub": 7}, "malformed"),
        ({"nonce": "n-1"}, "nonce"),
        ({"nonce": None}, "nonce"),
    ],
)
def test_an_id_token_with_one_wrong_claim_is_refused(change: dict[str, Any], reason: str) -> None:
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not None}
    with pytest.raises(TokenRefused) as refused:
        believed(sign(claims))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("change", "header", "reason"),
    [
        ({"aud": "https://other"}, {"typ": "at+jwt"}, "wrong_audience"),
        ({"aud": "client"}, {"typ": "at+jwt"}, "wrong_audience"),
        ({"iss": "https://evil.example"}, {"typ": "at+jwt"}, "wrong_issuer"),
        ({"exp": NOW - 31}, {"typ": "at+jwt"}, "expired"),
        ({}, {"typ": "JWT"}, "type"),
        ({}, {}, "type"),
        ({}, {"typ": "logout+jwt"}, "type"),
    ],
)
def test_an_access_token_with_one_thing_wrong_is_refused(
    change: dict[str, Any], header: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenRefused) as refused:
        accepted(sign(ACCESS | change, **header))
    assert refused.value.reason == reason


def test_an_id_token_is_no_access_token_and_the_other_way_round() -> None:
    with pytest.raises(TokenRefused, match="type"):
        accepted(sign({**CLAIMS, "aud": "https://api"}), "JWT")
    with pytest.raises(TokenRefused, match="type"):
        believed(sign({**CLAIMS}, typ="at+jwt"))


def test_an_unsigned_token_is_refused() -> None:
    for alg in ("none", "None", "NONE", "nOnE", ""):
        token = f"{encoded({'alg': alg, 'kid': 'ours'})}.{encoded(CLAIMS)}."
        with pytest.raises(TokenRefused, match=r"algorithm|malformed"):
            believed(token)


def test_the_public_key_is_no_secret_for_hs256() -> None:
    for secret in (OURS.as_pem(private=False), json.dumps(OURS.as_dict(private=False)).encode()):
        signed = f"{encoded({'alg': 'HS256', 'kid': 'ours'})}.{encoded(CLAIMS)}"
        mark = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=")
        with pytest.raises(TokenRefused, match="algorithm"):
            believed(f"{signed}.{mark.decode()}")


def test_keys_that_the_token_brings_are_not_looked_at() -> None:
    public = THEIRS.as_dict(private=False)
    for header in ({"jwk": public}, {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example"}):
        with pytest.raises(TokenRefused) as refused:
            believed(sign(CLAIMS, THEIRS, **header))
        assert refused.value.reason == "unknown_key"
        with pytest.raises(TokenRefused) as refused:
            believed(sign(CLAIMS, THEIRS, **(header | {"kid": "ours"})))
        assert refused.value.reason == "signature"


def test_a_token_names_its_key_and_the_keys_algorithm() -> None:
    for header, reason in (
        ({"kid": None}, "unknown_key"),
        ({"kid": "nobody"}, "unknown_key"),
        ({"kid": "curve"}, "algorithm"),
        ({"alg": "PS256"}, "algorithm"),  # the key says that it is for RS256
    ):
        loose = {name: value for name, value in OURS.as_dict(private=True).items() if name != "alg"}
        with pytest.raises(TokenRefused) as refused:
            believed(sign(CLAIMS, jwk.RSAKey.import_key(loose), **header))
        assert refused.value.reason == reason


def test_what_must_be_understood_is_not_ignored() -> None:
    header = {"alg": "RS256", "kid": "ours", "crit": ["exp"], "exp": 1}
    token = f"{encoded(header)}.{encoded(CLAIMS)}.{encoded('x')}"
    with pytest.raises(TokenRefused, match="malformed"):
        believed(token)


@given(st.binary(max_size=300), st.integers(0, 2), st.integers(1, 200))
def test_a_token_that_was_touched_is_refused(noise: bytes, part: int, at: int) -> None:
    parts = sign(CLAIMS).split(".")
    text = base64.urlsafe_b64encode(noise).decode()
    parts[part] = parts[part][:at] + text + parts[part][at + len(text) :]
    if ".".join(parts) != sign(CLAIMS):
        with pytest.raises(TokenRefused):
            believed(".".join(parts))


@given(st.text(max_size=2000))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        believed(text)


@pytest.mark.filterwarnings("ignore:Key size")
def test_keys_that_sign_nothing_are_left_out() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    weak = jwk.RSAKey.import_key(private, {"kid": "weak"})
    shared = {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}
    encrypting = OURS.as_dict(private=False) | {"use": "enc", "kid": "enc"}
    listed = [weak.as_dict(private=False), shared, encrypting, {"kty": "EC", "kid": "odd", "crv": "P-999"}]
    assert parse_keys(json.dumps({"keys": listed}).encode()) == {}
    for document in (b"", b"[]", b"{}", b'{"keys": 7}', json.dumps({"keys": [{}] * 65}).encode()):
        with pytest.raises(ProviderUnusable):
            parse_keys(document)
    twice = [OURS.as_dict(private=False), OURS.as_dict(private=False)]
    with pytest.raises(ProviderUnusable, match="two keys"):
        parse_keys(json.dumps({"keys": twice}).encode())
