"""An instance: a data directory with its secrets, and the parts that run on it.

`create` makes one. `running` opens the ledger, the engines and the gateway, and closes them in order.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from sqlalchemy import or_, select

from regalia.clock import now_ms
from regalia.config import Config
from regalia.engines import Engine
from regalia.engines.external import OpenAIEngine, OpenAIEngineSettings
from regalia.errors import RegaliaError
from regalia.fleet import Fleet
from regalia.gateway import Gateway, Metrics
from regalia.identity import KeyRing, Principal, Pseudonyms, hash_key, new_key
from regalia.identity.keys import RANDOM_BYTES
from regalia.ledger import KeyFiles, Ledger, create_keys, policy_text
from regalia.storage import Database, check_schema, open_database, upgrade
from regalia.storage.schema import api_keys

_ADMIN_PROJECT = "default"


class InstanceError(RegaliaError):
    """The data directory is not what it should be; the message says what to do."""


class Identity(msgspec.Struct, frozen=True):
    """`instance.json`: the log's origin and when the instance was made (ms)."""

    origin: str
    created: int


class Created(msgspec.Struct, frozen=True):
    """What `regalia init` prints, once."""

    api_key: str
    origin: str
    data_dir: str


def create(data_dir: Path, origin: str | None) -> Created:
    """Make an instance in `data_dir`: keys, database, the first admin key. Raises InstanceError."""
    if (data_dir / "instance.json").exists():
        raise InstanceError(f"{data_dir} already holds an instance; choose another --data-dir")
    origin = origin or f"regalia.local/{os.urandom(4).hex()}"
    if not origin.isprintable() or any(mark.isspace() or mark == "+" for mark in origin):
        raise InstanceError(
            f"the origin {origin!r} must have neither spaces nor `+`, like a URL without https://"
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    for folder in ("keys", "run", "logs", "models", "log"):
        (data_dir / folder).mkdir(exist_ok=True, mode=0o700)
    secret = os.urandom(32)
    _write_private(data_dir / "keys" / "instance.secret", secret.hex().encode())
    create_keys(KeyFiles.under(data_dir / "keys"))
    database = database_of(data_dir)
    upgrade(database)
    key = new_key(os.urandom(RANDOM_BYTES))
    with database.write() as connection:
        connection.execute(
            api_keys.insert().values(
                id=f"key_{os.urandom(8).hex()}",
                hash=hash_key(secret, key),
                name="first admin key",
                role="owner",
                created=now_ms(),
            )
        )
    database.close()
    identity = Identity(origin=origin, created=now_ms())
    _write_private(data_dir / "instance.json", msgspec.json.encode(identity))
    return Created(api_key=key, origin=origin, data_dir=str(data_dir))


def identity_of(data_dir: Path) -> Identity:
    """Read `instance.json`. Raises InstanceError."""
    try:
        return msgspec.json.decode((data_dir / "instance.json").read_bytes(), type=Identity)
    except FileNotFoundError as error:
        raise InstanceError(
            f"{data_dir} holds no instance; make one: regalia init --data-dir {data_dir}"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise InstanceError(f"can't read {data_dir / 'instance.json'}: {error}") from error


def database_of(data_dir: Path) -> Database:
    """The instance's database."""
    return open_database(f"sqlite:///{(data_dir / 'regalia.db').absolute()}")


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Instance:
    """The parts of a running instance, for the API to stand on."""

    def __init__(
        self,
        config: Config,
        origin: str,
        *,
        keys: KeyRing,
        ledger: Ledger,
        fleet: Fleet,
        gateway: Gateway,
        metrics: Metrics,
        policy: str,
    ) -> None:
        self.config = config
        self.origin = origin
        self.keys = keys
        self.ledger = ledger
        self.fleet = fleet
        self.gateway = gateway
        self.metrics = metrics
        self.policy = policy


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Instance]:
    """A running instance. Engines start in the background; leaving drains and closes everything."""
    data_dir = config.data_dir
    origin = identity_of(data_dir).origin
    secret = _secret(data_dir)
    keys = KeyFiles.under(data_dir / "keys")
    database = database_of(data_dir)
    check_schema(database)
    ledger = await Ledger.open(
        data_dir, database, process=f"proc_{os.urandom(8).hex()}", origin=origin, keys=keys
    )
    fleet = Fleet(_engines(config))
    starting = asyncio.create_task(fleet.start())
    metrics = Metrics()
    gateway = Gateway(
        ledger,
        fleet,
        Pseudonyms(secret),
        metrics,
        concurrent_calls=config.limits.concurrent_calls,
        response_bytes=config.limits.response_bytes,
    )
    try:
        yield Instance(
            config,
            origin,
            keys=_key_ring(database, secret),
            ledger=ledger,
            fleet=fleet,
            gateway=gateway,
            metrics=metrics,
            policy=policy_text(keys, origin),
        )
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await fleet.stop(config.limits.drain_seconds)
        await ledger.close()
        database.close()


def _engines(config: Config) -> list[Engine]:
    return [
        OpenAIEngine(
            OpenAIEngineSettings(
                name=engine.name,
                base_url=engine.base_url,
                models=tuple(engine.models),
                api_key="" if engine.api_key == "none" else engine.api_key,
            )
        )
        for engine in config.engines
    ]


def _key_ring(database: Database, secret: bytes) -> KeyRing:
    now = now_ms()
    with database.read() as connection:
        rows = connection.execute(
            select(api_keys).where(
                api_keys.c.revoked.is_(None), or_(api_keys.c.expires.is_(None), api_keys.c.expires > now)
            )
        ).all()
    return KeyRing(secret, {row.hash: Principal(row.id, _ADMIN_PROJECT, row.role) for row in rows})


def _secret(data_dir: Path) -> bytes:
    try:
        return bytes.fromhex((data_dir / "keys" / "instance.secret").read_text())
    except (OSError, ValueError) as error:
        raise InstanceError(f"can't read the instance's secret: {error}") from error
