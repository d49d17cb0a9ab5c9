"""The embedding engine for a while, without an instance: for a pack's examples, and for measurements."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from regalia.engines.embedded import EmbeddedSettings, EmbeddingEngine, Places
from regalia.fleet import Fleet
from regalia.instance.policies import checked_policy, resources_of
from regalia.models import ModelStore, embedding_source
from regalia.policy.compiled import compile_document
from regalia.policy.detector import Resources
from regalia.policy.detectors import DETECTORS
from regalia.policy.trial import Outcome, trial


async def tried(document: bytes) -> Outcome:
    """What a pack's examples come to, with the embedding engine where a rail may need it.

    Raises PackError, SourceError, EngineError.
    """
    policy = checked_policy(document)
    if not any(rule.slow for rule in policy.rules):
        return await trial(policy)
    async with embedding_engine() as resources:
        return await trial(compile_document(document, DETECTORS, resources))


@asynccontextmanager
async def embedding_engine() -> AsyncIterator[Resources]:
    """The model that is installed with Regalia, in a child without a network; both are gone with the block.

    Raises SourceError, EngineError.
    """
    with tempfile.TemporaryDirectory(prefix="regalia-") as folder:
        store = ModelStore(Path(folder) / "models")
        model = await asyncio.to_thread(store.pull, embedding_source())
        places = Places(Path(folder) / "run", Path(folder) / "logs")
        settings = EmbeddedSettings(threads=1)  # two wait for one another on a busy machine
        weights = partial(store.weights, model.name, model.digest)
        engine = EmbeddingEngine(model.name, weights, places, settings)
        fleet = Fleet([engine])
        await engine.start()
        try:
            yield resources_of(lambda: fleet)
        finally:
            await engine.stop(0.0)
