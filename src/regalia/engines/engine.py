"""What an engine is to the rest of Regalia: a process that serves the OpenAI API, whoever started it.

Plain data (`EngineIdentity`, `Endpoint`, `Weights`) and the `Engine` protocol. The gateway asks an
engine in one of two ways: `ask` for a whole reply, `stream` for events. Both apply the engine's
request adapter, so that what differs between engines stays inside `regalia.engines`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from regalia.engines.adapter import Result
from regalia.engines.client import Reply
from regalia.engines.work import Work

Isolation = Literal["netns", "userns+netns", "none", "external"]
UNKNOWN_DIGEST = "unknown"


class Weights(msgspec.Struct, frozen=True):
    """Weights that were hashed just now and match their registration.

    `model` and `digest` name the registered model; `path` is what the engine opens: the model file
    (of a split model its first part).
    """

    model: str
    digest: str
    path: Path
    bytes: int = 0


class EngineIdentity(msgspec.Struct, frozen=True):
    """What a record says about who answered. Digests are "sha256:<hex>" or "unknown"."""

    name: str
    build: str
    digest: str
    isolation: Isolation
    model_name: str
    model_digest: str


class EngineStream(Protocol):
    """A reply under way. A status other than 200 comes with `body` and without events."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """What came with a status other than 200."""
        ...

    @property
    def result(self) -> Result:
        """What is known so far."""
        ...

    @property
    def finished(self) -> bool:
        """True once the engine has said that its answer is complete."""
        ...

    def __aiter__(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """The events for the client as (name, data), without the closing `[DONE]`.

        Events that came together come together, at least one each time; the last of them ends the answer
        where the stream is then `finished`.
        Raises EngineTimeout, and EngineBroken where the stream ends before it is `finished`.
        """
        ...


class Engine(Protocol):
    """One engine. `ready` is False while it starts, drains, or fails its probe."""

    @property
    def name(self) -> str:
        """The name by which records and logs know this engine."""
        ...

    @property
    def serves(self) -> tuple[str, ...]:
        """The public names of its models."""
        ...

    @property
    def routes(self) -> frozenset[str]:
        """The routes it answers."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it takes traffic now."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests it is answering."""
        ...

    def identity(self, model: str) -> EngineIdentity:
        """Who answers for `model` right now."""
        ...

    async def start(self) -> None:
        """Start, and return when it is ready. Raises EngineError with what went wrong."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Take no more traffic, wait up to `drain_s` seconds for what is under way, then end."""
        ...

    async def ask(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> tuple[Reply, Result]:
        """One request, one reply. Raises EngineError.

        `work` has what it made the engine do once this is over, also if it raises or is cancelled.
        """
        ...

    def stream(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> AbstractAsyncContextManager[EngineStream]:
        """One request, a reply in events. Leaving the block early cancels the generation.

        `work` has what it made the engine do once the block is left, however that was.
        """
        ...
