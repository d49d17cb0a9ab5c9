"""Servers that speak the OpenAI API and are run by somebody else: vLLM, SGLang, another gateway.

Nothing is known of their weights and their network, and the record says so: digest "unknown",
isolation "external".
"""

import asyncio
import contextlib
import time

import msgspec
import structlog

from regalia.engines.adapter import ROUTES, OpenAIAdapter, RequestAdapter
from regalia.engines.asking import Asking
from regalia.engines.client import Endpoint, EngineClient, Reply, Timeouts
from regalia.engines.engine import UNKNOWN_DIGEST, EngineIdentity
from regalia.engines.errors import EngineError, EngineUnavailable

_LOG = structlog.get_logger()
_CONTINUOUS = frozenset({"vllm", "sglang"})
"""What these write as the owner of their models. Both know `stream_options.continuous_usage_stats`."""
_PROBE = Timeouts(connect=5.0, first_byte=10.0, between=10.0, total=10.0)


class OpenAIEngineSettings(msgspec.Struct, frozen=True):
    """One external server: `base_url` is `http(s)://…[/v1]` or `unix:/path`; `api_key` may be empty.

    `continuous_usage`: whether it can say its counts with every chunk of a stream; None if its list of
    models is to tell.
    """

    name: str
    base_url: str
    models: tuple[str, ...]
    api_key: str = ""
    probe_s: float = 5.0
    continuous_usage: bool | None = None
    timeouts: Timeouts = Timeouts()


class OpenAIEngine(Asking):
    """An external server. It is ready while it answers its probe, `GET …/models`."""

    def __init__(self, settings: OpenAIEngineSettings) -> None:
        self.name = settings.name
        self.serves = settings.models
        self.routes = ROUTES
        self.ready = False
        self.problem: str | None = "not started"
        self._settings = settings
        base, prefix = _split(settings.base_url)
        self._openai = OpenAIAdapter(prefix, continuous_usage=bool(settings.continuous_usage))
        self.adapter: RequestAdapter = self._openai
        self._endpoint = Endpoint(base, settings.api_key)
        self._models_path = f"{prefix}/models"
        self._probing: asyncio.Task[None] | None = None

    def identity(self, model: str) -> EngineIdentity:
        """What is known of it: its name."""
        return EngineIdentity(self.name, "unknown", UNKNOWN_DIGEST, "external", model, UNKNOWN_DIGEST)

    async def start(self) -> None:
        """Probe once, and go on probing. Raises EngineError where it does not answer yet."""
        if self._client is None:
            self._client = EngineClient(self._endpoint, self._settings.timeouts)
            try:
                await self._probe()
            finally:
                self._probing = asyncio.create_task(self._keep_probing())

    async def stop(self, drain_s: float) -> None:
        """Take no more traffic, wait for what is under way, close the connections."""
        self.ready = False
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        if self._client is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._client.idle()
            await self._client.close()

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(self._settings.probe_s)
            if self.ready and time.monotonic() - self.client.last_progress < self._settings.probe_s:
                continue  # it is answering
            with contextlib.suppress(EngineError):
                await self._probe()

    async def _probe(self) -> None:
        """Set `ready` and `problem`. Any answer below 500 shows a server that serves."""
        try:
            reply = await self.client.get(self._models_path, _PROBE)
            if reply.status in (401, 403) or reply.status >= 500:
                raise EngineUnavailable(f"{self._models_path} answers {reply.status}")
        except EngineError as error:
            if self.problem is None or not self.ready:
                _LOG.warning("engine not ready", engine=self.name, reason=str(error))
            self.ready, self.problem = False, str(error)
            raise
        if not self.ready:
            _LOG.info("engine ready", engine=self.name)
            if self._settings.continuous_usage is None:
                self._openai.continuous_usage = _counts_continuously(reply)
        self.ready, self.problem = True, None


class _Model(msgspec.Struct):
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model] = []


def _counts_continuously(reply: Reply) -> bool:
    """Whether its list of models names an engine that is known to."""
    try:
        models = msgspec.json.decode(reply.body, type=_Models).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return bool(models) and all(model.owned_by in _CONTINUOUS for model in models)


def _split(base_url: str) -> tuple[str, str]:
    """A base URL as (where the server is, what stands before its routes)."""
    if base_url.startswith("unix:"):
        return base_url, "/v1"
    base = base_url.rstrip("/")
    if base.endswith("/v1"):
        return base.removesuffix("/v1"), "/v1"
    return base, ""
