"""Signed notes, checkpoints, cosignatures and proofs: one spelling each, and signatures that hold."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from regalia.ledger.writing import encode_proof
from regalia.notes import checkpoint_text, encode_note
from regalia_verify import note
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.merkle import EMPTY_ROOT, leaf_hash
from regalia_verify.note import Checkpoint, SignedNote, VerifierKey
from regalia_verify.receipt import TlogProof
from regalia_verify.strict import base64_bytes, base64_text, decimal
from verify.paper_log import ORIGIN, TIME_S, PaperLog, Signer, sample_log

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ER"
    "YNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
CHECKPOINT = f"{ORIGIN}\n7\n{base64_text(leaf_hash(b'x'))}\n"
roots = st.binary(min_size=32, max_size=32)
names = st.text(st.characters(codec="utf-8", exclude_characters="+"), min_size=1, max_size=60).filter(
    lambda name: not any(c.isspace() or ord(c) < 32 for c in name)
)


def test_the_specification_s_example_verifies() -> None:
    key, signed = VerifierKey.parse(SPEC_KEY), SignedNote.parse(SPEC_NOTE)
    assert (key.name, key.encode(), encode_note(signed)) == ("example.com/foo", SPEC_KEY, SPEC_NOTE)
    note.verify(signed.text, signed.signatures[0], key)
    with pytest.raises(NotVerified):
        note.verify(signed.text + "\n", signed.signatures[0], key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",  # another id
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",  # upper case
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",  # another name
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",  # base64 cut
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k=",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
        "example .com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+",
        VerifierKey.create("example.com/foo", 0x02, bytes(32)).encode(),  # a type that is not known
        VerifierKey.create("example.com/foo", 0x01, bytes(31)).encode(),
        VerifierKey.create("example.com/foo", 0x06, bytes(32)).encode(),
    ],
)
def test_malformed_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", ""),
        ("no signatures", "text\n"),
        ("no empty line", "text\n— a AAAAAAA=\n"),
        ("no final newline", SPEC_NOTE[:-1]),
        ("carriage returns", SPEC_NOTE.replace("\n", "\r\n")),
        ("tab", SPEC_NOTE.replace("example message", "example\tmessage")),
        ("nul", SPEC_NOTE.replace("example message", "example\0message")),
        ("trailing text", SPEC_NOTE + "more\n"),
        ("hyphen for a dash", SPEC_NOTE.replace("—", "-")),
        ("two spaces", SPEC_NOTE.replace("foo Uw", "foo  Uw")),
        ("name with a plus", SPEC_NOTE.replace("/foo ", "/f+o ")),
        ("name with a no-break space", SPEC_NOTE.replace("/foo ", "/f\u00a0o ")),
        ("no name", SPEC_NOTE.replace("example.com/foo ", " ")),
        ("base64 without padding", SPEC_NOTE.replace("aQM=", "aQM")),
        ("base64 with other last bits", SPEC_NOTE.replace("aQM=", "aQN=")),
        ("base64 with a space", SPEC_NOTE.replace("aQM=", " aQM=")),
        ("URL-safe base64", SPEC_NOTE.replace("aQM=", "-_M=")),
        ("signature of four bytes", "text\n\n— a AAAAAA==\n"),
        ("too many signatures", "text\n\n" + "— a AAAAAAA=\n" * 101),
        ("too long", "x" * note.MAX_NOTE + "\n\n— a AAAAAAA=\n"),
    ],
)  # fmt: skip
def test_malformed_notes_are_refused(name: str, data: str) -> None:
    with pytest.raises(FormatError):
        SignedNote.parse(data)
    with pytest.raises(FormatError):
        SignedNote.parse(data.encode())


def test_a_note_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        SignedNote.parse(SPEC_NOTE.encode().replace(b"example message", b"example \xff"))


def test_the_text_of_a_note_ends_at_the_last_empty_line() -> None:
    signed = SignedNote.parse("a\n\nb\n\n\n— k AAAAAAA=\n")
    assert (signed.text, signed.signatures[0].blob) == ("a\n\nb\n\n", b"\0")


@given(
    st.text(max_size=200),
    st.lists(st.tuples(names, st.binary(min_size=1, max_size=90)), min_size=1, max_size=17),
)
def test_notes_round_trip_and_have_one_spelling(text: str, signed: list[tuple[str, bytes]]) -> None:
    signatures = tuple(
        note.Signature(name, note.VerifierKey.create(name, 1, blob).key_id, blob) for name, blob in signed
    )
    encoded = encode_note(SignedNote(text + "\n", signatures))
    if any(ord(c) < 32 and c != "\n" for c in text):
        with pytest.raises(FormatError):
            SignedNote.parse(encoded)
        return
    parsed = SignedNote.parse(encoded.encode())
    assert parsed == SignedNote(text + "\n", signatures)
    assert encode_note(parsed) == encoded


@given(names.filter(lambda name: len(name.encode()) < 256), st.integers(1, 2**63 - 1), roots)
def test_checkpoints_round_trip(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.parse(checkpoint_text(checkpoint)) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        CHECKPOINT[:-1],
        CHECKPOINT + "\n",
        CHECKPOINT + "extension\n",
        CHECKPOINT.replace("\n7\n", "\n07\n"),
        CHECKPOINT.replace("\n7\n", "\n+7\n"),
        CHECKPOINT.replace("\n7\n", "\n-7\n"),
        CHECKPOINT.replace("\n7\n", "\n7 \n"),
        CHECKPOINT.replace("\n7\n", "\n٧\n"),
        CHECKPOINT.replace("\n7\n", "\n0\n"),  # an empty log has another root
        CHECKPOINT.replace("\n7\n", f"\n{2**63}\n"),
        CHECKPOINT.replace("\n7\n", "\n\n"),
        CHECKPOINT.replace(ORIGIN, ""),
        CHECKPOINT.replace(ORIGIN, "x" * 256),
        CHECKPOINT.replace(ORIGIN, "a\tb"),
        f"{ORIGIN}\n7\n{base64_text(bytes(31))}\n",
        f"{ORIGIN}\n7\n{base64_text(bytes(33))}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(text)


def test_the_checkpoint_of_an_empty_log() -> None:
    assert Checkpoint.parse(checkpoint_text(Checkpoint(ORIGIN, 0, EMPTY_ROOT))).size == 0


@pytest.mark.parametrize("key_type", [note.ED25519, note.ED25519_COSIGNATURE, note.MLDSA44_COSIGNATURE])
def test_signatures_of_every_type_bind_text_time_and_signer(key_type: int) -> None:
    signer = Signer("witness.example/w1", key_type, "w1")
    assert VerifierKey.parse(signer.key.encode()) == signer.key
    checkpoint = Checkpoint(ORIGIN, 7, leaf_hash(b"x"))
    signed = SignedNote.parse(f"{checkpoint_text(checkpoint)}\n{signer.line(checkpoint)}")
    signature = signed.signatures[0]
    note.verify(signed.text, signature, signer.key)
    if key_type != note.ED25519:
        assert signature.timestamp == TIME_S
    others = [
        Checkpoint(ORIGIN, 8, checkpoint.root),
        Checkpoint(ORIGIN + "x", 7, checkpoint.root),
        Checkpoint(ORIGIN, 7, leaf_hash(b"y")),
    ]
    for other in others:
        with pytest.raises(NotVerified):
            note.verify(checkpoint_text(other), signature, signer.key)
    for bit in {0, 7, 63, 64, 300, len(signature.blob) * 8 - 1}:
        blob = bytearray(signature.blob)
        blob[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotVerified):
            note.verify(
                signed.text, note.Signature(signature.name, signature.key_id, bytes(blob)), signer.key
            )
    for blob_of_other_length in (signature.blob[:-1], signature.blob + b"\0"):
        with pytest.raises(NotVerified):
            note.verify(
                signed.text,
                note.Signature(signature.name, signature.key_id, blob_of_other_length),
                signer.key,
            )
    with pytest.raises(NotVerified):
        note.verify(signed.text, signature, Signer("witness.example/w1", key_type, "w2").key)


def test_a_cosignature_of_a_time_beyond_2_63_is_refused() -> None:
    signer = Signer("w", note.ED25519_COSIGNATURE, "w")
    checkpoint = Checkpoint(ORIGIN, 7, leaf_hash(b"x"))
    signed = SignedNote.parse(f"{checkpoint_text(checkpoint)}\n{signer.line(checkpoint, 2**63)}")
    with pytest.raises(NotVerified):
        note.verify(signed.text, signed.signatures[0], signer.key)


def test_the_signed_messages_are_those_of_the_specification() -> None:
    checkpoint = Checkpoint("example.com/behind-the-sofa", 20852163, leaf_hash(b"x"))
    assert note.cosignature_v1_message(checkpoint_text(checkpoint), 1679315147) == (
        b"cosignature/v1\ntime 1679315147\n" + checkpoint_text(checkpoint).encode()
    )
    assert note.cosigned_message("w.example", checkpoint, 5).hex(" ") == " ".join([
        b"subtree/v1\n\0".hex(" "), "09", b"w.example".hex(" "), "00 00 00 00 00 00 00 05",
        "1b", b"example.com/behind-the-sofa".hex(" "), "00 00 00 00 00 00 00 00",
        "00 00 00 00 01 3e 2d c3", checkpoint.root.hex(" "),
    ])  # fmt: skip


def test_this_build_of_cryptography_has_ml_dsa() -> None:
    try:
        Signer("w", note.MLDSA44_COSIGNATURE, "w")
    except UnsupportedAlgorithm:
        pytest.fail("the installed cryptography lacks ML-DSA-44: install version 48 or newer from a wheel")


proofs = st.builds(
    TlogProof,
    index=st.integers(0, 2**63 - 1),
    hashes=st.lists(roots, max_size=63).map(tuple),
    checkpoint=st.just(SPEC_NOTE),
    extra=st.none() | st.binary(max_size=200),
)


@given(proofs)
def test_proofs_round_trip(proof: TlogProof) -> None:
    assert TlogProof.parse(encode_proof(proof)) == proof
    assert TlogProof.parse(encode_proof(proof).encode()) == proof


@given(proofs, st.data())
def test_what_parses_as_a_proof_is_its_only_spelling(proof: TlogProof, data: st.DataObject) -> None:
    text = bytearray(encode_proof(proof).encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = TlogProof.parse(bytes(text))
    except FormatError:
        return
    assert encode_proof(parsed).encode() == bytes(text)


HASH = base64_text(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1",
        f"c2sp.org/tlog-proof@v2\nindex 0\n\n{SPEC_NOTE}",
        f"\nc2sp.org/tlog-proof@v1\nindex 0\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 00\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex  0\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex -1\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 1_0\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex {2**63}\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\nextra AA==\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nextra AA==\nextra AA==\nindex 0\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nextra AB==\nindex 0\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH} \n\n{SPEC_NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH}",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 64 + f"\n{SPEC_NOTE}",
    ],
)
def test_malformed_proofs_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        TlogProof.parse(text)


@given(st.text(max_size=30))
def test_base64_has_one_spelling(text: str) -> None:
    try:
        data = base64_bytes(text, "test")
    except FormatError:
        return
    assert base64_text(data) == text


@given(st.text(st.sampled_from("0123456789_+- ٣"), max_size=21))
def test_decimals_have_one_spelling(text: str) -> None:
    try:
        number = decimal(text, "test")
    except FormatError:
        return
    assert str(number) == text
    assert number < 2**63


def test_a_receipt_is_a_tlog_proof_whose_checkpoint_is_a_note() -> None:
    log: PaperLog = sample_log(3)
    proof = TlogProof.parse(log.receipt(log.calls[0]))
    signed = SignedNote.parse(proof.checkpoint)
    assert Checkpoint.parse(signed.text) == log.checkpoint()
