"""How many statements a call sends."""

from collections.abc import Awaitable

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection

_BEGIN_AND_COMMIT = 2


async def statements_of(engine: ExtendedAsyncSAEngine, call: Awaitable[object]) -> int:
    """Make a call and count what it sends, without BEGIN and COMMIT.

    The pool hands out its last connection first. The driver tells nobody of a COPY, and asks the server for
    types on a connection's first calls.
    """
    sent: list[str] = []
    async with engine.begin_readonly_session() as db_sess:
        driver = driver_connection(db_sess)
    with driver.query_logger(lambda record: sent.append(record.query)):
        await call
    return len(sent) - _BEGIN_AND_COMMIT
