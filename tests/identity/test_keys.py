"""API keys: made once, kept as keyed hashes, found without a database."""

import pytest

from regalia.errors import ApiError
from regalia.identity import KeyRing, Principal, RingKey, hash_key, new_key

SECRET = b"s" * 32
KEY = new_key(bytes(range(30)))
ALICE = Principal("key_1", "default", "owner")
RING = KeyRing(SECRET, {hash_key(SECRET, KEY): RingKey(ALICE)})


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
    with pytest.raises(ApiError) as raised:
        RING.principal(header)
    assert (raised.value.status, raised.value.code) == (401, code)
    assert "rgl_" not in raised.value.message.replace("rgl_…", "")
