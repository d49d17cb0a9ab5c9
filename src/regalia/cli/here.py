"""Administrative operations on an instance whose server does not run: on its data directory itself."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

import regalia.instance.keeping
import regalia.instance.metering
import regalia.instance.policies
import regalia.instance.signin.accounts  # noqa: F401 - these add the operations that may be asked for
from regalia.cli.local import os_user
from regalia.config import load_config
from regalia.errors import AuditUnavailable, RegaliaError
from regalia.identity import KeyRing
from regalia.identity.live import LiveTenants
from regalia.identity.principal import local_actor
from regalia.instance import database_of, identity_of
from regalia.instance.directory import secret_of
from regalia.instance.tenancy import Tenancy
from regalia.instance.tenancy.operations import decoded, matched
from regalia.ledger import Entry, KeyFiles, LedgerLocked
from regalia.ledger.keeping import Action
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.storage import check_schema, open_database


def perform(
    data_dir: Path, database_url: str, config: Path | None, method: str, path: str, content: bytes
) -> Any:
    """One operation's answer, from the instance in `data_dir`. Raises RegaliaError while a server runs."""
    settings = load_config(config, {"data_dir": str(data_dir), "database": database_url or None})
    url = database_of(data_dir, settings.database).engine.url.render_as_string(hide_password=False)
    origin, keys = identity_of(data_dir).origin, KeyFiles.under(data_dir / "keys")
    name = f"command-{os_user()}"
    try:
        log = Log.open(Where(data_dir, url, name, origin, keys, settings.vault.root_key))
    except LedgerLocked as error:
        raise RegaliaError(f"{error}, or ask its server: --api-key or REGALIA_API_KEY") from error
    try:
        database = open_database(url)
        check_schema(database)

        async def run() -> Any:
            secret = secret_of(data_dir)
            live = LiveTenants(database, KeyRing(secret, {}))
            await live.refresh()

            async def append(record: bytes) -> int:
                (result,) = log.append([Entry(record)])
                if not isinstance(result, int):
                    raise result
                return result

            async def keep(action: Action) -> dict[str, Any]:
                done: dict[str, Any] = msgspec.json.decode(log.keep(action))
                return done

            labels = settings.tenancy.classifications
            two = settings.policy.approvals
            at = Tenancy(
                database,
                live,
                append,
                secret,
                keep=keep,
                labels=labels,
                approvals=two,
                limits=settings.limits,
            )
            return await _perform(at, method, path, content)

        answer = asyncio.run(run())
        database.close()
        log.publish()
        if log.publish_failure:
            raise AuditUnavailable(log.publish_failure)
        return answer
    finally:
        log.close()


async def _perform(at: Tenancy, method: str, path: str, content: bytes) -> Any:
    where, _, query = path.partition("?")
    found = matched(method, where)
    if found is None:
        raise RegaliaError(f"there is no operation {method} {path}")
    operation, parameters = found
    asked = dict(parse_qsl(query)) | parameters
    body = decoded(content, operation.body) if operation.body else None
    answer = await operation.run(at, local_actor(f"os:{os_user()}"), asked, body)
    return msgspec.json.decode(msgspec.json.encode(answer))
