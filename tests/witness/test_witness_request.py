"""The body of add-checkpoint: one spelling only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.notes import checkpoint_text, signature_line
from regalia.witness.errors import Refused
from regalia.witness.request import MAX_REQUEST, AddCheckpoint, build_request
from regalia_verify.merkle import EMPTY_ROOT
from regalia_verify.note import Signature, SignedNote
from witness.witnessing import a_log

LOG = a_log(20)
NOTE = LOG.signed()
EXTENDED = NOTE.replace("\n\n", "\nextension\n\n")
HASH = base64.b64encode(bytes(32)).decode()

# The example of the specification, signatures included.
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501


def test_the_example_of_the_specification_is_read() -> None:
    request = AddCheckpoint.parse(EXAMPLE.encode())
    assert (request.old, len(request.proof)) == (20852014, 4)
    assert (request.checkpoint.origin, request.checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert request.encode() == EXAMPLE.encode()


@given(st.integers(0, 20), st.integers(0, 20))
def test_what_is_built_is_read_back(old: int, size: int) -> None:
    note = LOG.note(size)
    if old > size:
        with pytest.raises(ValueError, match="extend"):
            build_request(note, old, LOG.node)
        return
    request = build_request(note, old, LOG.node)
    assert AddCheckpoint.parse(request.encode()) == request


@given(st.data())
def test_what_is_read_has_one_spelling(data: st.DataObject) -> None:
    body = bytearray(LOG.request(7, 20).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(body), 400) - 1))
        kind = data.draw(st.sampled_from(["change", "remove", "insert"]))
        if kind == "remove":
            del body[place]
        elif kind == "insert":
            body.insert(place, data.draw(st.sampled_from(b"\n 0old=\r\x00A\xe2")))
        else:
            body[place] = data.draw(st.integers(0, 255))
    try:
        request = AddCheckpoint.parse(bytes(body))
    except Refused as refusal:
        assert (refusal.status, refusal.code) == (422, "empty_root") or refusal.status == 400
    else:
        assert request.encode() == bytes(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        NOTE.encode(),
        f"old 00\n\n{NOTE}".encode(),
        f"old 01\n\n{NOTE}".encode(),
        f"old -1\n\n{NOTE}".encode(),
        f"old +1\n\n{NOTE}".encode(),
        f"old  1\n\n{NOTE}".encode(),
        f"old 1 \n\n{NOTE}".encode(),
        f"Old 1\n\n{NOTE}".encode(),
        f"old {2**63}\n\n{NOTE}".encode(),
        f"old 1\r\n\n{NOTE}".encode(),
        f"old 1\n{HASH[:-4]}\n\n{NOTE}".encode(),
        f"old 1\n{HASH}=\n\n{NOTE}".encode(),
        f"old 1\n {HASH}\n\n{NOTE}".encode(),
        f"old 1\n{HASH.replace('=', '')}\n\n{NOTE}".encode(),
        f"old 1\n{HASH[:-2]}B=\n\n{NOTE}".encode(),  # another spelling of the same bytes
        f"old 1\n{base64.b64encode(bytes(33)).decode()}\n\n{NOTE}".encode(),
        f"old 1\n{'x' * 100}\n\n{NOTE}".encode(),
        b"old 1\n" + f"{HASH}\n".encode() * 64 + b"\n" + NOTE.encode(),
        f"old 0\n\n\n{NOTE}".encode(),
        f"old 0\n\n{NOTE[:-1]}".encode(),
        f"old 0\n\n{NOTE}\n".encode(),
        f"old 0\n\n{checkpoint_text(LOG.checkpoint())}".encode(),
        f"old 0\n\n{EXTENDED}".encode(),
        f"old 0\n\n{NOTE}".encode() + b"\xff\n",
        b"old 0\n\n" + b"x" * MAX_REQUEST,
    ],
)
def test_anything_else_is_400(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        AddCheckpoint.parse(body)
    assert caught.value.status == 400


def test_63_proof_lines_and_16_post_quantum_signatures_fit() -> None:
    lines = "".join(signature_line(Signature(f"key{n}", b"1234", bytes(5000))) for n in range(16))
    proof = f"{HASH}\n" * 63
    body = f"old 1\n{proof}\n{NOTE}{lines}".encode()
    assert len(AddCheckpoint.parse(body).note.signatures) == 18


def test_an_empty_tree_with_a_wrong_root_is_422() -> None:
    empty = a_log(0).signed()
    root = base64.b64encode(EMPTY_ROOT).decode()
    assert AddCheckpoint.parse(f"old 0\n\n{empty}".encode()).checkpoint.size == 0
    for wrong, status in ((HASH, 422), (HASH[:-4], 400)):
        with pytest.raises(Refused) as caught:
            AddCheckpoint.parse(f"old 0\n\n{empty.replace(root, wrong)}".encode())
        assert caught.value.status == status


def test_a_carried_checkpoint_alone_stands_for_a_first_time() -> None:
    request = AddCheckpoint.carried(NOTE.encode())
    assert (request.old, request.proof, request.note) == (0, (), SignedNote.parse(NOTE))
    whole = LOG.request(5)
    assert AddCheckpoint.carried(whole.encode()) == whole
