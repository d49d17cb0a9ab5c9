"""Where callers are not to learn of one another's prompts, none is read faster for an earlier one."""

import json
from pathlib import Path

import msgspec

from live_engines import MODEL, QUICK, chat
from regalia.config import load_config
from regalia.engines import LlamaEngine, Places
from regalia.models import ModelStore


async def test_a_prompt_that_was_read_before_is_read_again(model_store: ModelStore, places: Places) -> None:
    settings = msgspec.structs.replace(QUICK, prompt_cache=False)
    engine = LlamaEngine(MODEL, lambda: model_store.weights(MODEL), places, settings)
    await engine.start()
    try:
        for _ in range(2):
            wanted = chat("The number of the case is 4711.", max_tokens=1, cache_prompt=True)
            reply, result = await engine.ask("chat.completions", wanted)
            assert result.cached == 0
            told = json.loads(reply.body)["usage"].get("prompt_tokens_details") or {}
            assert not told.get("cached_tokens")
    finally:
        await engine.stop(1.0)


def test_it_is_one_line_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "regalia.yaml"
    file.write_text("embedded_engine: {prompt_cache: false}\n")
    assert load_config(file, {}).embedded_engine.prompt_cache is False
    assert load_config(None, {}).embedded_engine.prompt_cache is True
