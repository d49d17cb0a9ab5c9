"""The vault's cryptography: what was sealed opens, and nothing that was changed or swapped does."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regalia.vault import KEY_BYTES, Sealed, VaultError, bucket_of
from regalia.vault.sealing import (
    NONCE_BYTES,
    SEAL_RANDOM,
    BucketKey,
    bucket_context,
    project_context,
    unwrap,
    wrap,
)

IDENT = b"call_01/outcome"


def bucket(number: int = 7) -> BucketKey:
    return BucketKey(number, os.urandom(32))


def seal(key: BucketKey, content: bytes, ident: bytes = IDENT) -> Sealed:
    return key.seal(ident, content, os.urandom(SEAL_RANDOM))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=5000), ident=st.binary(max_size=80), number=st.integers(0, 2**63 - 1))
def test_what_was_sealed_opens_again(content: bytes, ident: bytes, number: int) -> None:
    key = bucket(number)
    sealed = seal(key, content, ident)
    assert key.open(ident, sealed) == content
    assert len(sealed.key) == KEY_BYTES
    assert bucket_of(sealed.key) == number


def test_a_flipped_bit_in_any_byte_is_noticed() -> None:
    key = bucket()
    sealed = seal(key, b"what was said")
    for at in range(KEY_BYTES):
        damaged = bytearray(sealed.key)
        damaged[at] ^= 1
        with pytest.raises(VaultError):
            if bucket_of(bytes(damaged)) == 7:
                key.open(IDENT, Sealed(bytes(damaged), sealed.data))
            else:
                raise VaultError("another bucket is not there")
    for at in range(len(sealed.data)):
        damaged = bytearray(sealed.data)
        damaged[at] ^= 1
        with pytest.raises(VaultError):
            key.open(IDENT, Sealed(sealed.key, bytes(damaged)))


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 20])
def test_a_cut_content_is_noticed(cut: int) -> None:
    key = bucket()
    sealed = seal(key, b"what was said")
    with pytest.raises(VaultError):
        key.open(IDENT, Sealed(sealed.key, sealed.data[:cut]))


@pytest.mark.parametrize(
    "wrong", [b"", bytes(KEY_BYTES), b"\x01" * (KEY_BYTES - 1), b"\x01" * (KEY_BYTES + 1)]
)
def test_a_key_of_another_shape_is_noticed(wrong: bytes) -> None:
    with pytest.raises(VaultError):
        bucket_of(wrong)


def test_contents_cannot_change_places() -> None:
    key = bucket()
    first, second = seal(key, b"first", b"a"), seal(key, b"second", b"b")
    for ident, sealed in [
        (b"b", first),
        (b"a", Sealed(first.key, second.data)),
        (b"a", Sealed(second.key, first.data)),
        (b"b", Sealed(first.key, second.data)),
    ]:
        with pytest.raises(VaultError):
            key.open(ident, sealed)


def test_a_bucket_with_another_number_or_key_opens_nothing() -> None:
    secret = os.urandom(32)
    sealed = seal(BucketKey(1, secret), b"content")
    for other in (BucketKey(2, secret), BucketKey(1, os.urandom(32))):
        with pytest.raises(VaultError):
            other.open(IDENT, sealed)


def test_moving_to_another_bucket_keeps_the_content_and_needs_the_new_key() -> None:
    old, new = bucket(1), bucket(2)
    sealed = seal(old, b"content")
    moved = Sealed(new.take_over(old, IDENT, sealed.key, os.urandom(NONCE_BYTES)), sealed.data)
    assert bucket_of(moved.key) == 2
    assert new.open(IDENT, moved) == b"content"
    with pytest.raises(VaultError):
        old.open(IDENT, moved)


def test_one_content_sealed_twice_looks_different_throughout() -> None:
    key = bucket()
    first, second = seal(key, b"content"), seal(key, b"content")
    assert first.data != second.data
    assert first.key[9:] != second.key[9:]


@given(st.tuples(st.integers(0, 99), st.text(max_size=9), st.text(max_size=9)), st.data())
def test_contexts_of_different_project_keys_differ(key: tuple[int, str, str], data: st.DataObject) -> None:
    other = data.draw(st.tuples(st.integers(0, 99), st.text(max_size=9), st.text(max_size=9)))
    ambiguous = "\0" in key[1] + other[1]  # refused as a project's id
    assert ambiguous or (project_context(*key) == project_context(*other)) == (key == other)


def test_a_wrapped_key_opens_only_in_its_context() -> None:
    outer, secret = os.urandom(32), os.urandom(32)
    context = bucket_context(1, 2, 3, 4)
    wrapped = wrap(outer, secret, context, os.urandom(NONCE_BYTES))
    assert unwrap(outer, wrapped, context) == secret
    for wrong in (bucket_context(2, 2, 3, 4), bucket_context(1, 2, 3, 5), b""):
        with pytest.raises(VaultError):
            unwrap(outer, wrapped, wrong)
    for damaged in (b"", wrapped[:8], wrapped[:-1], wrapped + b"\0"):
        with pytest.raises(VaultError):
            unwrap(outer, damaged, context)
