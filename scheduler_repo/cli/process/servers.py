"""Connections to the Redis or Valkey that the settings name; errors say where it is and what to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Optional

import redis.exceptions

from scheduler_repo.cache import read_through
from scheduler_repo.cache.client import create_redis
from scheduler_repo.errors import CacheUnavailable
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_cache_source
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import CacheSettings


@asynccontextmanager
async def open_cache_source(
    settings: Optional[CacheSettings], db_source: SchedulerDBSource, *, must_answer: bool
) -> AsyncIterator[Optional[SchedulerCacheSource]]:
    """Open the cache source if there are settings for one; at the end wait for the entries it still writes.

    Raises InvalidSettings for a bad URL and CacheUnavailable if Redis does not answer but ``must_answer``.
    """
    if settings is None:
        yield None
        return
    await _check_redis(settings, must_answer=must_answer)
    cache_source = create_cache_source(settings, db_source)
    with _warn_once(settings):
        try:
            yield cache_source
        finally:
            await cache_source.aclose()


async def _check_redis(settings: CacheSettings, *, must_answer: bool) -> None:
    client = create_redis(settings)
    try:
        if must_answer:
            async with asyncio.timeout(settings.timeout):
                await client.ping()
    except redis.exceptions.ResponseError as error:
        raise CacheUnavailable(f"{settings.url}: Redis refused: {error}; correct the URL") from error
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        problem = f"Redis cannot be reached ({_reason(error)}); correct the URL or leave it out"
        raise CacheUnavailable(f"{settings.url}: {problem}") from error
    finally:
        await client.aclose()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


@contextmanager
def _warn_once(settings: CacheSettings) -> Iterator[None]:
    """Print only the first warning of the cache, with the URL it is about; a command needs no more."""
    has_warned = False

    def is_first(record: logging.LogRecord) -> bool:
        nonlocal has_warned
        had_warned, has_warned = has_warned, True
        record.msg, record.args = "%s: %s", (str(settings.url), record.getMessage())
        return not had_warned

    logger = logging.getLogger(read_through.__name__)
    logger.addFilter(is_first)
    try:
        yield
    finally:
        logger.removeFilter(is_first)
