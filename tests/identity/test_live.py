"""Who may ask is followed whatever a row holds: one that can't be understood is met again, until it can."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import insert, text

from regalia.identity import KeyRing, hash_key
from regalia.identity.live import LiveTenants
from regalia.storage import Database
from regalia.storage.schema.tenancy import api_keys

SECRET = b"s" * 32


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110 - another task changes it
            await asyncio.sleep(0.01)


async def test_a_row_that_can_not_be_understood_does_not_end_the_following(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regalia.identity.live.LOOK_S", 0.01)
    live = LiveTenants(database, KeyRing(SECRET, {}))
    read = [0]
    honest = live.refresh

    async def refresh() -> None:
        read[0] += 1
        await honest()

    monkeypatch.setattr(live, "refresh", refresh)
    async with live.following():
        with database.write() as connection:
            row = {"id": "key_1", "hash": hash_key(SECRET, "rgl_1"), "name": "n", "role": "owner"}
            damaged = {"scope": "instance", "created": 1, "changed": 7, "models": "["}
            connection.execute(insert(api_keys).values(**row, **damaged))
            connection.execute(text("UPDATE identity_state SET generation = 7"))
        failed = read[0]
        await until(lambda: read[0] > failed + 2)
        assert "key_1" not in live.tenants.keys
        with database.write() as connection:
            connection.execute(text("UPDATE api_keys SET models = '[]'"))
        await until(lambda: "key_1" in live.tenants.keys)
