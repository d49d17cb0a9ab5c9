"""What the log says of models and engines: which weights are registered, which engine runs on them."""

import msgspec
import structlog
from sqlalchemy import delete, select

from regalia.clock import now_ms
from regalia.engines import EngineIdentity
from regalia.ledger import Entry, Ledger
from regalia.models import Manifest
from regalia.storage import Database
from regalia.storage.schema import registered_models

_LOG = structlog.get_logger()
_canonical = msgspec.json.Encoder(order="sorted").encode


class Registrar:
    """Writes the records of models and engines. The record comes before what it is about."""

    def __init__(self, ledger: Ledger, database: Database) -> None:
        self._ledger = ledger
        self._database = database

    async def register(self, manifests: list[Manifest]) -> None:
        """Record models that are new or changed since the last start, and those that are gone."""
        with self._database.read() as connection:
            known = {row.name: row.digest for row in connection.execute(select(registered_models))}
        present = {manifest.name: manifest.digest for manifest in manifests}
        for name, digest in known.items():
            if present.get(name) != digest:
                await self._append("model.retired", name=name, digest=digest)
                self._note(name, None)
        for name, digest in present.items():
            if known.get(name) != digest:
                await self._append("model.registered", name=name, digest=digest)
                self._note(name, digest)

    async def started(self, engine: EngineIdentity) -> None:
        """Record that an engine begins to answer. Raises AuditUnavailable: then it must not."""
        await self._append(
            "engine.started",
            engine=engine.name,
            model={"name": engine.model_name, "digest": engine.model_digest},
            build=engine.build,
            digest=engine.digest,
            isolation=engine.isolation,
        )

    async def stopped(self, engine: str, reason: str) -> None:
        """Record that an engine ended."""
        await self._append("engine.stopped", engine=engine, reason=reason[:500])

    async def _append(self, kind: str, **fields: object) -> None:
        _LOG.info(kind, **fields)
        await self._ledger.append(Entry(_canonical({"v": 1, "kind": kind, "time": now_ms(), **fields})))

    def _note(self, name: str, digest: str | None) -> None:
        with self._database.write() as connection:
            connection.execute(delete(registered_models).where(registered_models.c.name == name))
            if digest is not None:
                connection.execute(registered_models.insert().values(name=name, digest=digest))
