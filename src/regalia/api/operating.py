"""What whoever runs the system looks at: whether calls are answered, or why not."""

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler

from regalia.api.asker import asker
from regalia.identity import require
from regalia.instance import Instance


def operations_handler(instance: Instance) -> HTTPRouteHandler:
    """The route over one running instance."""

    @get("/v1/regalia/operations", summary="Engines, calls under way, the log's state", tags=["operations"])
    async def operations(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Takes `operations.read`."""
        require(asker(instance, request), "operations.read")
        return {
            **readiness(instance),
            "open_calls": instance.gateway.open_calls,
            "log_size": instance.ledger.size,
            "published_size": instance.ledger.published_size,
        }

    return operations


def readiness(instance: Instance) -> dict[str, Any]:
    """Whether calls are answered, and what each part says."""
    engines = {engine.name: engine.ready for engine in instance.fleet}
    log = instance.ledger.unavailable or (instance.witnessing.refusal() if instance.witnessing else None)
    return {
        "ready": log is None and instance.fleet.ready,
        "log": log or "ok",
        "audit_export": _audit_export(instance),
        "witnesses": instance.witnessing.state if instance.witnessing else "none",
        "engines": {name: "ready" if ready else "not ready" for name, ready in engines.items()},
    }


def _audit_export(instance: Instance) -> str:
    if instance.export is not None:
        return instance.export.told
    return "another worker's" if instance.config.audit_export.to else "none"
