"""A gateway over a real ledger, with a policy that tests set."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ledger_kit import Site
from policy.policy_kit import PRINCIPAL, Listener, OnePolicy, Parrot, Queue, compiled
from ports import free_port
from regalia.errors import ApiError
from regalia.fleet import Fleet
from regalia.gateway import ROUTES, Gateway, Metrics
from regalia.gateway.guard import Guard
from regalia.identity import Pseudonyms
from regalia.ledger import Entry, Ledger, Unmade
from regalia.metering import Metering
from serving import Server, ServerFactory, background

BY_NAME = {route.name: route for route in ROUTES}


class House:
    """A gateway whose records are at hand."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.engine = Parrot()
        self.book = OnePolicy()
        self.queue = Queue()
        self.entries: list[Entry] = []
        append = ledger.append

        def noting(entry: Entry | Unmade) -> "asyncio.Future[int]":
            def make() -> Entry:
                self.entries.append(made := entry.made())
                return made

            return append(Unmade(entry.phase, entry.call, make))

        ledger.append = noting  # type: ignore[method-assign]
        self.gateway = Gateway(
            ledger,
            Fleet([self.engine]),
            Pseudonyms(b"s" * 32),
            Metrics(),
            Metering(),
            concurrent_calls=64,
            response_bytes=1_000_000,
            guard=Guard(self.book, self.queue),
        )

    def reset(self, *rails: Any, **fields: Any) -> None:
        """Another policy, and nothing asked or said before."""
        self.book.policy = compiled(*rails, **fields) if rails else None
        self.engine.__init__()  # type: ignore[misc]
        self.queue.reviews.clear()
        self.entries.clear()

    async def call(self, route: str, body: bytes) -> tuple[Listener, ApiError | None]:
        """One call: what the client got, and the error that it got."""
        client = Listener()
        try:
            await self.gateway.answer(BY_NAME[route], PRINCIPAL, body, client)
        except ApiError as error:
            return client, error
        return client, None

    @property
    def outcome(self) -> dict[str, Any]:
        """The last record."""
        record: dict[str, Any] = json.loads(self.entries[-1].record)
        return record

    @property
    def sealed(self) -> dict[str, bytes]:
        """What was sealed with it."""
        return {part.name: part.data for part in self.entries[-1].parts}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    ledger = await Site.make(tmp_path_factory.mktemp("house")).ledger()
    yield House(ledger)
    await ledger.close()


@pytest.fixture(scope="session")
def echo() -> Iterator[str]:
    """An engine that repeats what it is told, and shows it at /seen."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("echo_engine.py")), str(port)]
    with background(command, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, echo: str) -> Iterator[Server]:
    """One running server over that engine for all tests of this folder; each sets its own policy."""
    factory = ServerFactory(tmp_path_factory.mktemp("policy"))
    engines = [{"name": "echo", "adapter": "openai", "base_url": f"{echo}/v1", "models": ["echo"]}]
    yield factory(embedded=False, engines=engines).start()
    factory.stop_all()
