"""The real llama.cpp engine, started once a module, and the model it serves."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import serving
from live_engines import MODEL, QUICK, SECRETS
from regalia.engines import LlamaEngine, Places
from regalia.models import ModelStore


@pytest.fixture(scope="session")
def model_store() -> ModelStore:
    """A store with SmolLM2, pulled once and kept in build/."""
    return ModelStore(serving.model_store())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Where one test's engine keeps its socket and its log."""
    return Places(tmp_path / "run", tmp_path / "logs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llama(
    model_store: ModelStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LlamaEngine]:
    """One llama.cpp engine for a module whose tests do not disturb it."""
    os.environ.update(SECRETS)
    folder = tmp_path_factory.mktemp("llama")
    places = Places(folder / "run", folder / "logs")
    engine = LlamaEngine(MODEL, lambda: model_store.weights(MODEL), places, QUICK)
    await engine.start()
    for name in SECRETS:
        del os.environ[name]
    yield engine
    await engine.stop(1.0)
