"""The server has its newest checkpoint timestamped now and then, if that is configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from regalia.config import TimestampSettings
from regalia.instance.directory import InstanceError
from regalia.instance.timestamps import TimestampError, Timestamps

_LOG = structlog.get_logger()


@asynccontextmanager
async def stamping(data_dir: Path, settings: TimestampSettings) -> AsyncIterator[None]:
    """Ask the authority every `interval_s` while the block runs, where there is something new."""
    if not settings.url:
        yield
        return
    if settings.certificates is None:
        raise InstanceError("log.timestamps.certificates must name the authority's certificates (PEM)")
    timestamps = Timestamps(data_dir, settings.certificates)
    task = asyncio.create_task(_ask(timestamps, settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ask(timestamps: Timestamps, settings: TimestampSettings) -> None:
    while True:
        try:
            await asyncio.to_thread(_once, timestamps, settings.url)
        except (TimestampError, OSError) as error:  # the next round tries again; nothing else depends on it
            _LOG.error("a checkpoint could not be timestamped", error=str(error))
        await asyncio.sleep(settings.interval_s)


def _once(timestamps: Timestamps, url: str) -> None:
    if not timestamps.has_newest():
        stamp = timestamps.ask(url)
        _LOG.info("a checkpoint was timestamped", size=stamp.size, time=stamp.time.isoformat())
