"""Choosing an engine: the model and the route are hard, then the one with the least to do."""

from typing import Any

import pytest

from regalia.engines import EngineError, EngineUnavailable, LlamaEngine, OpenAIEngine
from regalia.engines.embedded import EmbeddingEngine
from regalia.engines.engine import Engine
from regalia.fleet import Fleet, NoReadyEngine, UnknownModel, choose


class Stub:
    """An engine that is nothing but what `choose` looks at."""

    def __init__(
        self, name: str, model: str, *, ready: bool = True, in_flight: int = 0, route: str = "chat"
    ) -> None:
        self.name = name
        self.serves = (model,)
        self.routes = frozenset({route})
        self.ready = ready
        self.in_flight = in_flight
        self.error: EngineError | None = None
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")
        if self.error:
            raise self.error

    async def stop(self, drain_s: float) -> None:
        self.calls.append(f"stop {drain_s:g}")


def engines(*stubs: Stub) -> Any:
    return stubs


def test_every_kind_of_engine_is_an_engine() -> None:
    kinds: list[type[Engine]] = [LlamaEngine, EmbeddingEngine, OpenAIEngine]
    assert kinds


def test_the_ready_engine_with_the_least_in_flight_is_chosen() -> None:
    found = choose(
        engines(
            Stub("other", "b"),
            Stub("down", "a", ready=False),
            Stub("busy", "a", in_flight=3),
            Stub("free", "a", in_flight=1),
            Stub("embed", "a", route="embeddings"),
        ),
        "a",
        "chat",
    )
    assert found.name == "free"


def test_an_unknown_model_and_an_unserved_route_are_404() -> None:
    with pytest.raises(UnknownModel) as unknown:
        choose(engines(Stub("x", "a")), "b", "chat")
    assert (unknown.value.status, unknown.value.code) == (404, "model_not_found")
    with pytest.raises(UnknownModel, match="does not serve this route"):
        choose(engines(Stub("x", "a")), "a", "embeddings")


def test_a_model_whose_engines_are_all_down_is_503() -> None:
    with pytest.raises(NoReadyEngine) as none:
        choose(engines(Stub("x", "a", ready=False)), "a", "chat")
    assert none.value.status == 503
    assert none.value.retry_after


async def test_one_engine_that_does_not_start_does_not_hold_up_the_others() -> None:
    good, bad = Stub("good", "a"), Stub("bad", "b", ready=False)
    bad.error = EngineUnavailable("no weights")
    fleet = Fleet(engines(good, bad))
    assert not fleet.ready
    assert await fleet.start() == {"bad": "no weights"}
    assert fleet.models == ("a", "b")
    assert fleet.ready, "the others answer"
    await fleet.stop(2)
    assert good.calls == bad.calls == ["start", "stop 2"]
