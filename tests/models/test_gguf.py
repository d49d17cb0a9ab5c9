"""The head of a GGUF file: what it says is read, what it threatens is not."""

import contextlib
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_kit import GGUF_NOTES, gguf, text
from regalia.models.errors import SourceError
from regalia.models.gguf import read_metadata


def head(pairs: int, rest: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, pairs) + rest


def test_what_a_model_says_of_itself_is_read() -> None:
    notes = read_metadata(
        io.BytesIO(
            gguf({**GGUF_NOTES, "general.base_model.0.name": "Base\n", "tokenizer.chat_template": "x"})
        )
    )
    assert notes == {
        "architecture": "llama",
        "licence": "apache-2.0",
        "quantisation": "Q4_1",
        "context_length": "8192",
        "base_model": "Base ",
        "chat_template": "yes",
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4",
        head(0, b"", version=99),
        head(2**60, b""),
        head(1, b""),
        head(1, struct.pack("<Q", 2**62)),
        head(1, text("k") + struct.pack("<IQ", 8, 2**62)),
        head(1, text("k") + struct.pack("<I", 77)),
        head(1, text("k") + struct.pack("<IIQ", 9, 4, 2**62)),
        head(1, text("k") + struct.pack("<IIQ", 9, 9, 1)),
        head(1, text("k") + struct.pack("<IIQ", 9, 8, 2) + struct.pack("<Q", 2**63)),
        head(1, text("k") + struct.pack("<IIQ", 9, 0, 10) + b"123"),
    ],
)
def test_a_broken_head_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        read_metadata(io.BytesIO(data))


@given(st.binary(max_size=300))
def test_no_bytes_do_more_harm_than_being_refused(rest: bytes) -> None:
    with contextlib.suppress(SourceError):
        read_metadata(io.BytesIO(head(3, rest)))
