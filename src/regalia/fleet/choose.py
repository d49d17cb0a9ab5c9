"""Choosing an engine: a pure decision over what the engines say of themselves."""

from collections.abc import Iterable

from regalia.engines import Engine
from regalia.errors import ApiError


class UnknownModel(ApiError):
    """No engine serves the model on this route."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(404, "model_not_found", message, param="model")
        self.model = model


class NoReadyEngine(ApiError):
    """The model is served, and no engine that serves it takes traffic now."""

    def __init__(self, model: str) -> None:
        super().__init__(
            503,
            "engine_unavailable",
            f"No engine for the model {model!r} is ready; try again.",
            retry_after=2,
        )
        self.model = model


def choose(engines: Iterable[Engine], model: str, route: str) -> Engine:
    """The ready engine with the fewest requests in flight. Raises UnknownModel and NoReadyEngine."""
    best: Engine | None = None
    served = known = False
    for engine in engines:
        if model not in engine.serves:
            continue
        known = True
        if route not in engine.routes:
            continue
        served = True
        if engine.ready and (best is None or engine.in_flight < best.in_flight):
            best = engine
    if best is not None:
        return best
    if served:
        raise NoReadyEngine(model)
    if known:
        raise UnknownModel(model, f"The model {model!r} does not serve this route.")
    raise UnknownModel(model, f"There is no model {model!r} here; GET /v1/models lists them.")
