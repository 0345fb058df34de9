"""Who asks for the same at the same time shares one read; cancelling one leaves it to the others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.errors import DeadlineExceeded, SessionNotFound
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.resilience.policies.timeout import call_deadline
from scheduler_repo.types import SessionStatus
from tests.cache.world import OTHER_SESSION, SESSION, World
from tests.support.small_cluster import session_id
from tests.support.wire_proxy import Point, Side

MANY: Final = 100
_SESSION_STATEMENT: Final = "FROM sessions"


class TestSingleFlight:
    @pytest.fixture
    async def warm(self, process: World) -> World:
        """A process that knows which database it is."""
        for each in process.reads:
            await each.read_other()
        return process

    async def _transactions(self, world: World, ask: Callable[[], Awaitable[object]]) -> int:
        before = world.sql_proxy.transactions
        await ask()
        for each in world.reads:
            await each.source.drain()
        return world.sql_proxy.transactions - before

    @pytest.mark.parametrize("which", [0, 1, 2], ids=["session", "totals", "tick"])
    async def test_many_misses_are_one_query(self, warm: World, which: int) -> None:
        # Given no entry
        each = warm.reads[which]

        # When many ask at once
        answers: list[object] = []

        async def ask() -> None:
            answers.extend(await asyncio.gather(*(each.read() for _ in range(MANY))))

        # Then the database is asked once, and all have its answer
        assert await self._transactions(warm, ask) == 1
        truth = await each.truth()
        assert len(answers) == MANY
        assert all(answer == truth for answer in answers)

    async def test_many_misses_are_one_query_when_there_is_no_cache(
        self, failing: World, valkey: EmbeddedValkey
    ) -> None:
        await asyncio.to_thread(valkey.stop)
        each = failing.reads[0]
        await each.stored()

        async def ask() -> None:
            await asyncio.gather(*(each.read() for _ in range(MANY)))

        assert await self._transactions(failing, ask) == 1

    async def test_many_who_ask_for_none_are_told_so_by_one_query(self, warm: World) -> None:
        repository = SessionRepository(warm.session_source, warm.sessions)

        async def ask() -> None:
            errors = await asyncio.gather(
                *(repository.get_session_by_id(session_id(404)) for _ in range(MANY)), return_exceptions=True
            )
            assert {type(error) for error in errors} == {SessionNotFound}

        assert await self._transactions(warm, ask) == 1
        assert await repository.find_session(session_id(404)) is None

    @pytest.mark.parametrize("cancelled", [0, MANY // 2, MANY - 1])
    async def test_cancelling_one_leaves_the_others(self, warm: World, cancelled: int) -> None:
        # Given many who wait for one read
        each = warm.reads[0]
        hold = warm.sql_proxy.hold(Point.FETCH, Side.ANSWER, _SESSION_STATEMENT)
        calls = [asyncio.create_task(each.read()) for _ in range(MANY)]
        await hold.reached(calls[1])

        # When one of them is cancelled
        before = warm.sql_proxy.transactions
        calls[cancelled].cancel()
        await asyncio.wait([calls[cancelled]])
        hold.release()
        answers = await asyncio.gather(*calls, return_exceptions=True)

        # Then all others have the answer of that read
        truth = await each.truth()
        assert [index for index, answer in enumerate(answers) if answer != truth] == [cancelled]
        assert isinstance(answers[cancelled], asyncio.CancelledError)
        assert warm.sql_proxy.transactions - before == 1

    async def test_when_all_are_cancelled_nothing_is_left(self, warm: World) -> None:
        # Given many who wait for one read
        each = warm.reads[0]
        hold = warm.sql_proxy.hold(Point.FETCH, Side.ANSWER, _SESSION_STATEMENT)
        calls = [asyncio.create_task(each.read()) for _ in range(100)]
        await hold.reached(calls[0])

        # When all are cancelled
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await each.source.drain()

        # Then no connection is left with it, and the next one reads anew
        assert warm.engine.connections_in_use == 0
        hold.drop()
        assert await each.read() == await each.truth()

    async def test_the_deadline_of_the_first_is_its_own(self, warm: World) -> None:
        # Given a first caller in a hurry, and one who is not
        each = warm.reads[0]
        hold = warm.sql_proxy.hold(Point.FETCH, Side.ANSWER, _SESSION_STATEMENT)

        async def in_a_hurry() -> object:
            with call_deadline(0.05):
                return await each.read()

        first = asyncio.create_task(in_a_hurry())
        await hold.reached(first)
        second = asyncio.create_task(each.read())

        # When its deadline has passed
        with pytest.raises(DeadlineExceeded):
            await first
        hold.release()

        # Then the other one has the answer
        assert await second == await each.truth()

    async def test_unequal_questions_share_nothing(self, warm: World) -> None:
        async def ask() -> None:
            found = await asyncio.gather(
                warm.sessions.get_session_by_id(SESSION),
                warm.sessions.get_session_by_id(OTHER_SESSION),
                warm.sessions.get_session_info(SESSION),
            )
            assert [each.session_id for each in found] == [SESSION, OTHER_SESSION, SESSION]

        await warm.sessions.client.remove((f"scheduler_repo:session:{OTHER_SESSION}",))
        assert await self._transactions(warm, ask) == 3

    async def test_an_answer_from_before_ones_own_write_is_not_shared(self, warm: World) -> None:
        # Given a read that began before a write
        hold = warm.sql_proxy.hold(Point.FETCH, Side.ANSWER, _SESSION_STATEMENT)
        earlier = asyncio.create_task(warm.sessions.get_session_by_id(SESSION))
        await hold.reached(earlier)
        repository = SessionRepository(warm.session_source, warm.sessions)

        # When the session is changed and then read
        await repository.update_status(SESSION, SessionStatus.CANCELLED)
        later = await repository.get_session_by_id(SESSION)
        hold.release()

        # Then the later reader sees the change, whatever the earlier one saw
        assert later.status is SessionStatus.CANCELLED
        assert (await earlier).status is not SessionStatus.CANCELLED
        await warm.sessions.drain()
        assert (await repository.get_session_by_id(SESSION)).status is SessionStatus.CANCELLED


class TestWorkThatHasEnded:
    async def test_is_not_shared_with_one_who_comes_after_it(self) -> None:
        """Such a caller would not wait at all: in a loop, it gave nobody else a turn and never saw a change."""
        # given a caller whose turn comes between the end of the work and what is told of that end
        flights: SingleFlight[int] = SingleFlight()
        has_begun, may_end = asyncio.Event(), asyncio.Event()
        begun = 0

        async def work() -> int:
            nonlocal begun
            begun += 1
            has_begun.set()
            await may_end.wait()
            return begun

        async def come_later() -> int:
            await may_end.wait()
            return await flights.run("key", work)

        first = asyncio.create_task(flights.run("key", work))
        await has_begun.wait()
        later = asyncio.create_task(come_later())
        await asyncio.sleep(0)
        # when
        may_end.set()
        # then it has work of its own
        assert (await first, await later) == (1, 2)
