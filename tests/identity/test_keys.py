"""API keys: made once, kept as keyed hashes, found without a database, refused when in doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.errors import ApiError
from regalia.identity import Held, KeyRing, Principal, RingKey, hash_key, new_key
from regalia.identity.keys import STALE_S, KeyHash, parse_network

SECRET = b"s" * 32
KEY = new_key(bytes(range(30)))
ALICE = Principal(
    "key_1", "default", "owner", roles=frozenset({"owner"}), held=(Held("owner", "default", "default"),)
)
NOW = 1_800_000_000_000


def ring(key: RingKey, monotonic: float = 0.0) -> KeyRing:
    return KeyRing(SECRET, {hash_key(SECRET, KEY): key}, clock=lambda: NOW, monotonic=lambda: monotonic)


RING = ring(RingKey(ALICE))
BEARER = f"Bearer {KEY}".encode()


def refusal(keys: KeyRing, header: bytes | None, peer: str = "", route: str = "") -> tuple[int, str]:
    with pytest.raises(ApiError) as raised:
        keys.principal(header, peer, route)
    assert KEY not in raised.value.message
    return raised.value.status, raised.value.code


def test_a_key_has_its_prefix_and_hides_in_its_hash() -> None:
    assert KEY.startswith("rgl_")
    assert len(KEY) == 52
    assert KEY.encode() not in hash_key(SECRET, KEY)
    assert hash_key(b"t" * 32, KEY) != hash_key(SECRET, KEY)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer {KEY} "])
def test_a_known_key_is_its_principal(header: str) -> None:
    assert RING.principal(header.encode()) == ALICE


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        (b"", "invalid_api_key"),
        (KEY.encode(), "invalid_api_key"),
        (b"Basic " + KEY.encode(), "invalid_api_key"),
        (b"Bearer " + KEY[:-1].encode(), "invalid_api_key"),
        (b"Bearer " + b"x" * 100_000, "invalid_api_key"),
        (b"Bearer \xff\xfe", "invalid_api_key"),
    ],
)
def test_anything_else_is_401(header: bytes | None, code: str) -> None:
    assert refusal(RING, header) == (401, code)


def test_a_key_ends_in_the_millisecond_in_which_it_expires() -> None:
    assert ring(RingKey(ALICE, expires=NOW + 1)).principal(BEARER) == ALICE
    assert refusal(ring(RingKey(ALICE, expires=NOW)), BEARER) == (401, "expired_api_key")


@pytest.mark.parametrize(
    ("peer", "let_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("10.2.0.1", False),
        ("2001:db9::7", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_a_key_with_networks_is_refused_from_anywhere_else(peer: str, let_in: bool) -> None:
    networks = parse_network("10.1.0.0/16"), parse_network("2001:db8::/32")
    keys = ring(RingKey(ALICE, networks=networks))
    if let_in:
        assert keys.principal(BEARER, peer) == ALICE
    else:
        assert refusal(keys, BEARER, peer) == (403, "network_not_allowed")


def test_a_key_is_only_for_its_routes_its_project_and_its_roles() -> None:
    scoped = Principal("key_1", "p", "member", roles=frozenset({"member"}), routes=frozenset({"embeddings"}))
    assert ring(RingKey(scoped)).principal(BEARER, route="embeddings") == scoped
    assert ring(RingKey(scoped)).principal(BEARER) == scoped, "what is not inference has its own checks"
    assert refusal(ring(RingKey(scoped)), BEARER, route="tokenize") == (403, "route_not_allowed")
    nowhere = Principal("key_1", "", "member", roles=frozenset({"member"}))
    assert refusal(ring(RingKey(nowhere)), BEARER, route="tokenize") == (403, "no_project")
    auditor = Principal("key_1", "p", "auditor", roles=frozenset({"auditor"}))
    assert refusal(ring(RingKey(auditor)), BEARER, route="tokenize") == (403, "not_permitted")


def test_keys_that_were_not_confirmed_for_too_long_are_refused_until_they_are() -> None:
    now = 100.0
    keys = KeyRing(SECRET, {hash_key(SECRET, KEY): RingKey(ALICE)}, monotonic=lambda: now)
    keys.confirm(keys.moment())
    now += STALE_S
    assert keys.principal(BEARER) == ALICE
    now += 0.001
    assert refusal(keys, BEARER) == (503, "identity_unavailable")
    keys.confirm(keys.moment())
    assert keys.principal(BEARER) == ALICE


def test_a_ring_takes_keys_in_and_out_while_it_is_used() -> None:
    keys = KeyRing(SECRET, {})
    keys.change({hash_key(SECRET, KEY): RingKey(ALICE)})
    assert keys.principal(BEARER) == ALICE
    keys.change({hash_key(SECRET, KEY): None})
    assert refusal(keys, BEARER) == (401, "invalid_api_key")


def test_other_bearer_tokens_go_to_who_knows_them_and_our_keys_never() -> None:
    seen: list[bytes] = []

    def resolve(token: bytes) -> Principal | None:
        seen.append(token)
        return ALICE if token == b"eyJ.good" else None

    keys = KeyRing(SECRET, {})
    keys.also(resolve)
    assert keys.principal(b"Bearer eyJ.good") == ALICE
    assert refusal(keys, b"Bearer eyJ.bad") == (401, "invalid_api_key")
    assert refusal(keys, BEARER) == (401, "invalid_api_key")
    assert seen == [b"eyJ.good", b"eyJ.bad"]


@given(secret=st.binary(max_size=200), key=st.binary(max_size=300))
def test_the_ring_hashes_as_keys_are_stored(secret: bytes, key: bytes) -> None:
    assert KeyHash(secret).of(key) == hash_key(secret, key)
