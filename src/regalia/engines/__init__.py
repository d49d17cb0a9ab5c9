"""Engines: processes that serve the OpenAI API, how they are started, guarded, identified and asked."""

from regalia.engines.adapter import OpenAIAdapter, RequestAdapter, Result
from regalia.engines.client import Endpoint, EngineClient, Reply, ReplyStream, Timeouts
from regalia.engines.engine import UNKNOWN_DIGEST, Engine, EngineIdentity, EngineStream, Weights
from regalia.engines.errors import EngineBroken, EngineError, EngineTimeout, EngineUnavailable, WeightsRefused

__all__ = [
    "UNKNOWN_DIGEST",
    "Endpoint",
    "Engine",
    "EngineBroken",
    "EngineClient",
    "EngineError",
    "EngineIdentity",
    "EngineStream",
    "EngineTimeout",
    "EngineUnavailable",
    "OpenAIAdapter",
    "Reply",
    "ReplyStream",
    "RequestAdapter",
    "Result",
    "Timeouts",
    "Weights",
    "WeightsRefused",
]
