"""The chunks that most of a llama.cpp chat stream is made of, read without building what is thrown away.

Such a chunk has one choice with a piece of text, the token's id among log-probabilities that only we asked
for, and counts that only we asked for. Read by its shape it costs a third of what it costs as a dictionary,
and it is the same for the client to the byte. Whatever has another shape is left to `regalia.engines.llama`.
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from regalia.engines.adapter import Count


class _Token(msgspec.Struct):
    id: int


class _Logprobs(msgspec.Struct):
    content: list[_Token]


class Timings(msgspec.Struct):
    """How far the choice is."""

    cache_n: Count
    prompt_n: Count
    predicted_n: Count


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    finish_reason: None
    index: int
    delta: Raw
    logprobs: _Logprobs | UnsetType = UNSET


class Piece(msgspec.Struct, forbid_unknown_fields=True):
    """A chunk of a chat. The order of fields is the one that llama.cpp writes."""

    choices: tuple[_Choice]
    created: Raw
    id: Raw
    model: Raw
    system_fingerprint: Raw
    object: Raw
    timings: Timings | UnsetType = UNSET

    @property
    def index(self) -> int:
        """Which choice it belongs to."""
        return self.choices[0].index

    @property
    def ids(self) -> list[int]:
        """The ids of its tokens."""
        logprobs = self.choices[0].logprobs
        return [] if logprobs is UNSET else [token.id for token in logprobs.content]

    def for_client(self) -> bytes:
        """The chunk without what only we asked for."""
        self.timings = UNSET
        self.choices[0].logprobs = UNSET
        return _encode(self)


_decode = msgspec.json.Decoder(Piece).decode
_encode = msgspec.json.Encoder().encode


def read_piece(data: bytes) -> Piece | None:
    """The chunk, or None where it is anything else."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
