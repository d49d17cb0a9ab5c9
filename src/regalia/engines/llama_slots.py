"""How far llama.cpp is with a request, told by its slots (GET /slots).

llama.cpp says the counts of a whole answer with the answer only. Of one that is cancelled before, its
slots know: tokens of the prompt that were in the cache, that were computed, and tokens sampled. A slot
names its request by nothing but the request's parameters, so each request carries a mark in one that has
no effect: `n_discard` says how much to forget when the context is shifted, and it never is.

llama.cpp stops a stream that was left at its next token. Of a whole answer it looks whether the client is
still there only when no result of any request has come for a second, and the answer to a question for the
slots is such a result. So whoever waits until it has let go shares looks that are further apart (`Looks`).

Measured on xllamacpp 2026.10.11549: every route passes the parameter on, each choice has a slot with the
same mark, the answer comes within a millisecond also while a batch is computed, and a slot that is done
has its counts set back to zero.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from regalia.engines.adapter import Count, Result

MARK = "n_discard"
MARKS = 2**31 - 1
"""Marks are from 1 to this."""

APART_S = 1.5
"""Between two looks: longer than llama.cpp's second."""


class _Parameters(msgspec.Struct, frozen=True):
    n_discard: int = 0


class _Sampled(msgspec.Struct):
    n_decoded: Count = 0


class _Slot(msgspec.Struct):
    is_processing: bool = False
    n_prompt_tokens_processed: Count = 0
    n_prompt_tokens_cache: Count = 0
    params: _Parameters = _Parameters()
    next_token: tuple[_Sampled, ...] = ()


_decode = msgspec.json.Decoder(list[_Slot]).decode


def far(body: bytes, mark: int, samples: int, choices: int) -> Result | None:
    """What the slots that hold the marked request have done for it; nothing where it waits in line.

    None where they do not say: the request has just ended. While the first part of its prompt is computed,
    what was read is not known.
    """
    slots = _of(body, mark)
    if slots is None:
        return None
    busy = [slot for slot in slots if slot.is_processing]
    if not busy:
        return None if slots else Result()
    read = [slot.n_prompt_tokens_processed + slot.n_prompt_tokens_cache for slot in busy]
    one_prompt = choices == samples
    return Result(
        # Choices share their prompt: each of them counts it.
        input=max(read) if one_prompt else sum(read) // samples,
        output=sum(sampled.n_decoded for slot in busy for sampled in slot.next_token),
        cached=max(slot.n_prompt_tokens_cache for slot in busy) if one_prompt else 0,
        estimated=not any(read),
    )


def holds(body: bytes, mark: int) -> bool:
    """Whether a slot still works for the marked request."""
    return any(slot.is_processing for slot in _of(body, mark) or ())


def _of(body: bytes, mark: int) -> list[_Slot] | None:
    """The slots that have or had the marked request; None for what is no list of slots."""
    try:
        return [slot for slot in _decode(body) if slot.params.n_discard == mark]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Looks:
    """Looks at the slots, for all who wait for the next one at once. Owned by one event loop."""

    def __init__(self, look: Callable[[], Awaitable[bytes | None]], apart: float = APART_S) -> None:
        self._look = look
        self._apart = apart
        self._next: asyncio.Task[bytes | None] | None = None

    async def next(self) -> bytes | None:
        """What the slots say at the next look; None if nothing."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._later())
        return await asyncio.shield(self._next)

    async def _later(self) -> bytes | None:
        await asyncio.sleep(self._apart)
        return await self._look()
