"""The engines of this instance, started, asked and stopped together."""

import asyncio
from collections.abc import Iterable, Iterator

import structlog

from regalia.engines import Engine, EngineError
from regalia.fleet.choose import choose

_LOG = structlog.get_logger()


class Fleet:
    """Every engine. An engine that does not start keeps trying and does not hold up the others."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = tuple(engines)
        self._tried = False

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines)

    def choose(self, model: str, route: str) -> Engine:
        """The engine for one call. Raises UnknownModel and NoReadyEngine."""
        return choose(self._engines, model, route)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of every model that is served, sorted."""
        return tuple(sorted({model for engine in self._engines for model in engine.serves}))

    @property
    def ready(self) -> bool:
        """Whether each engine has had its first start, well or badly, and one of them takes traffic."""
        return self._tried and any(engine.ready for engine in self._engines)

    async def start(self) -> dict[str, str]:
        """Start every engine; returns what went wrong, by engine. An empty answer means all are ready."""
        outcomes = await asyncio.gather(*(self._start(engine) for engine in self._engines))
        self._tried = True
        return {name: problem for name, problem in outcomes if problem}

    async def stop(self, drain_s: float) -> None:
        """Drain and stop every engine at once."""
        await asyncio.gather(*(engine.stop(drain_s) for engine in self._engines))

    async def _start(self, engine: Engine) -> tuple[str, str]:
        try:
            await engine.start()
        except EngineError as error:
            _LOG.error("engine did not start", engine=engine.name, reason=str(error))
            return engine.name, str(error)
        return engine.name, ""
