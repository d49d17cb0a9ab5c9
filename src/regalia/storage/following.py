"""Following what the database says: looked at before a block begins, and again and again while it runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

_LOG = structlog.get_logger()


@asynccontextmanager
async def following(look: Callable[[], Awaitable[None]], every_s: float, what: str) -> AsyncIterator[None]:
    """Look every so often while the block runs. Raises what the first look raises, which comes before it.

    What a later one raises is logged, once for each kind of error, as that `what` can't be read; the next
    look comes all the same. Whoever must not go on with what was read before has to notice that it is old.
    """
    await look()
    task = asyncio.create_task(_follow(look, every_s, what))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(look: Callable[[], Awaitable[None]], every_s: float, what: str) -> None:
    failing = ""
    while True:
        await asyncio.sleep(every_s)
        try:
            await look()
        except Exception as error:  # whatever it was, the next look must come
            reason = type(error).__name__
            if reason != failing:
                foreseen = isinstance(error, SQLAlchemyError | OSError)
                trace: dict[str, Any] = {} if foreseen else {"exc_info": error}
                _LOG.error(f"{what} can't be read", reason=reason, **trace)
            failing = reason
        else:
            if failing:
                _LOG.info(f"{what} can be read again")
            failing = ""
