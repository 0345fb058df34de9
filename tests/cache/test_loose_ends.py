"""Nothing that a cache does beside its callers fails unheard, hangs, or loses a cancel."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import pytest
import redis.asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler_repo.cache.client import ValkeyClient
from scheduler_repo.cache.pending_invalidations import PendingInvalidations
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.cancellation import run_to_end
from scheduler_repo.errors import CacheRefused, DatabaseUnavailable
from scheduler_repo.resilience.policies.breaker import BreakerArgs, CircuitBreakerPolicy
from scheduler_repo.types import SessionStatus
from tests.cache.world import SESSION, World
from tests.support.databases import OWNER
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Point, Side

_LARGEST: Final = 2**63 - 1
# Three more kernels, each with as much as a column holds.
_LARGE_KERNELS: Final = f"""
UPDATE kernels SET requested_slots = ARRAY[{_LARGEST}, {_LARGEST}]::bigint[] WHERE session_id = '{SESSION}';
INSERT INTO kernels
SELECT (jsonb_populate_record(
    k, jsonb_build_object('id', gen_random_uuid(), 'kernel_index', k.kernel_index + n)
)).*
FROM kernels AS k, generate_series(1, 3) AS n
WHERE k.session_id = '{SESSION}'
"""


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator["redis_asyncio.Redis"]:
    """A client of a server that answers all with the same."""

    async def answer_all(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while sent := await from_client.read(65536):
            to_client.write(answer * sent.count(b"*"))
        to_client.close()

    server = await asyncio.start_server(answer_all, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client: redis_asyncio.Redis = redis_asyncio.Redis(port=port, protocol=2, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        await client.aclose()
        server.close()


class TestBackground:
    @pytest.fixture
    async def unheard(self) -> list[dict[str, object]]:
        """What the event loop was told that nobody else was."""
        told: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        return told

    async def test_sums_above_64_bits(self, process: World, unheard: list[dict[str, object]]) -> None:
        # Given a session that asks for more than 64 bits hold
        await process.database.run_as(OWNER, _LARGE_KERNELS)

        # When it is read by way of the cache
        info = await process.sessions.get_session_info(SESSION)
        await process.sessions.drain()

        # Then it is answered, again too, and nothing failed unheard
        assert info.requested_slots == (4 * _LARGEST, 4 * _LARGEST)
        assert await process.sessions.get_session_info(SESSION) == info
        gc.collect()
        await asyncio.sleep(0)
        assert unheard == []

    async def test_flight_that_fails_when_all_are_gone(self, unheard: list[dict[str, object]]) -> None:
        # Given work that fails as it is cancelled
        flights: SingleFlight[None] = SingleFlight()
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise DatabaseUnavailable("lost meanwhile")

        caller = asyncio.create_task(flights.run("key", work))
        await begun.wait()

        # When its only caller goes
        caller.cancel()
        await asyncio.wait([caller])
        await flights.drain()

        # Then nothing failed unheard
        assert caller.cancelled()
        del caller
        gc.collect()
        await asyncio.sleep(0)
        assert unheard == []

    async def test_removal_of_what_is_not_doubted_any_more(self, process: World) -> None:
        # Given a key whose entries have all ended since it was changed
        failures: list[int] = []
        invalidations = PendingInvalidations(process.sessions.client, 0.001, failures.append)
        until = invalidations.doubt(("key",))
        await asyncio.sleep(max(0.0, until - monotonic()) + 0.001)
        invalidations.doubt(("another",))

        # When it is removed, then that is no error
        await invalidations.remove(("key",), None)
        await invalidations.remove(("key",), until)
        assert failures == []
        invalidations.close()


class TestLostCancels:
    async def test_clean_up_that_fails(self) -> None:
        # Given a caller that is cancelled while its connection is given back
        begun, fails = asyncio.Event(), asyncio.Event()

        async def give_back() -> None:
            begun.set()
            await fails.wait()
            raise ConnectionError("lost")

        caller = asyncio.create_task(run_to_end(give_back()))
        await begun.wait()
        caller.cancel()

        # When that fails
        fails.set()
        await asyncio.wait([caller])

        # Then it is cancelled all the same, and no policy tries again
        assert caller.cancelled()

    async def test_driver_that_answers_instead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given a driver that answers when it is cancelled
        async with answering(b"+PONG\r\n") as redis:
            asked = asyncio.Event()

            async def clock() -> tuple[int, int]:
                asked.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return (1, 0)
                raise AssertionError

            monkeypatch.setattr(redis, "time", clock)
            client = ValkeyClient(redis, timeout=PATIENCE)

            # When a caller is cancelled
            caller = asyncio.create_task(client.clock())
            await asked.wait()
            caller.cancel()
            await asyncio.wait([caller])

            # Then it is
            assert caller.cancelled()
            await client.aclose()

    async def test_probe_that_goes_on(self) -> None:
        # Given an open breaker, whose probe loses the first cancel
        probing = asyncio.Event()

        async def probe() -> bool:
            if not probing.is_set():
                probing.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return False
            await asyncio.Event().wait()
            return True

        async def fail() -> None:
            raise ConnectionError

        breaker = CircuitBreakerPolicy(
            BreakerArgs(name="it", is_failure=lambda _: True, probe=probe, recovery=0.01)
        )
        with pytest.raises(ConnectionError):
            await breaker.execute(fail)
        await probing.wait()

        # When it is closed, that ends
        async with asyncio.timeout(PATIENCE):
            await breaker.aclose()


class TestOddAnswers:
    @pytest.mark.parametrize(
        "answer", [b"*0\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b":1\r\n", b"$-1\r\n", b"-ASK x\r\n"]
    )
    async def test_what_the_driver_cannot_read(self, answer: bytes) -> None:
        async with answering(answer) as redis:
            client = ValkeyClient(redis, timeout=PATIENCE)
            for ask in (client.clock(), client.get_with_clock("key"), client.get_or_lease("key", b"L", 1_000)):
                with pytest.raises(CacheRefused):
                    await ask
            await client.aclose()


class TestWhichDatabase:
    async def test_is_asked_again_when_the_connection_is_lost(
        self, process: World, other_process: World
    ) -> None:
        # Given an entry, and a process that does not know yet which database it has
        await process.reads[0].stored()
        hold = other_process.sql_proxy.hold(Point.BEGIN, Side.REQUEST)
        read = asyncio.create_task(other_process.sessions.get_session_by_id(SESSION))
        await hold.reached(read)

        # When its connection is lost as it asks
        hold.drop()

        # Then the caller gets the answer
        assert (await read).status is SessionStatus.PENDING
