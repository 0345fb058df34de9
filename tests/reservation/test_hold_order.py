"""First reserved, first served, in whatever order the allocations come."""

from itertools import permutations

import pytest

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.obstacles import ContainerShortage, SlotShortage
from scheduler_repo.types import AgentId, ClusterMode
from tests.reservation.contest import A1, A2, LOW, Contest, hold, important
from tests.support.small_cluster import GROUP, agent, place, session, session_id


def short(number: int, agent_id: str, requested: int, available: int) -> RejectedAllocation:
    shortage = SlotShortage(0, requested=requested, available=available)
    return RejectedAllocation(session_id(number), RejectionCode.AGENT, AgentId(agent_id), shortage)


@pytest.fixture
async def two_holds(contest: Contest) -> Contest:
    """The agent is full of 1 and 2, which end for 10 and for 11, reserved in this order; 12 just waits."""
    await contest.given(
        [agent(A1), agent(A2, cpu=4)],
        [
            important(session(1, 5), LOW),
            important(session(2, 5), LOW),
            important(session(10, 5)),
            important(session(11, 5), 99),
            important(session(12, 1), 200),
        ],
        {1: [A1], 2: [A1]},
    )
    first = await contest.reserve(hold(10, A1, victims=[1]))
    second = await contest.reserve(hold(11, A1, victims=[2]))
    assert (first.rejected, second.rejected) == ((), ())
    assert await contest.holders() == [session_id(10), session_id(11)]
    return contest


class TestOrder:
    @pytest.mark.parametrize("batch", list(permutations([10, 11, 12])))
    @pytest.mark.parametrize("ended", [1, 2])
    async def test_room_for_one_goes_to_the_first(
        self, two_holds: Contest, batch: tuple[int, ...], ended: int
    ) -> None:
        # given: room for one of them, whosever victim has ended
        await two_holds.end(ended)
        assert list(await two_holds.plan()) == [session_id(10), session_id(12)]
        # when
        result = await two_holds.allocate(*(place(number, A1) for number in batch))
        # then
        assert result.allocated == (session_id(10),)
        expected = {session_id(11): short(11, A1, 5, 0), session_id(12): short(12, A1, 1, -5)}
        assert {each.session_id: each for each in result.rejected} == expected
        assert await two_holds.holders() == [session_id(11)]
        # when: the rest has ended
        await two_holds.end(2 if ended == 1 else 1)
        result = await two_holds.allocate(place(12, A1), place(11, A1))
        # then
        assert result.allocated == (session_id(11),)
        assert await two_holds.holders() == []
        assert await two_holds.scheduler.count_overcommitted_agents(GROUP) == 0

    @pytest.mark.parametrize("order", list(permutations([10, 11])))
    async def test_room_for_both(self, two_holds: Contest, order: tuple[int, ...]) -> None:
        # given
        await two_holds.end(1, 2)
        assert await two_holds.plan() == {
            session_id(10): (A1,),
            session_id(11): (A1,),
            session_id(12): (A2,),
        }
        # when: in two writes, in either order
        results = [await two_holds.allocate(place(number, A1)) for number in order]
        # then
        assert [result.rejected for result in results] == [(), ()]
        assert await two_holds.holders() == []

    async def test_positions_within_a_batch_are_in_its_order(self, contest: Contest) -> None:
        # given: ids that ascend, in a batch that does not
        waiting = [important(session(number, 1)) for number in range(10, 18)]
        await contest.given([agent(A1)], waiting, {})
        order = [13, 10, 17, 12, 16, 11, 15, 14]
        # when
        await contest.reserve(*(hold(number, A1) for number in order))
        # then
        assert await contest.holders() == [session_id(number) for number in order]

    async def test_the_first_has_no_claim_beyond_its_hold(self, contest: Contest) -> None:
        # given: 10 holds four cores on each agent, 11 holds six on the first
        await contest.given([agent(A1), agent(A2)], [session(10, 4, 4), session(11, 6), session(12, 0, 0)], {})
        assert (await contest.reserve(hold(10, A1, A2), hold(11, A1))).rejected == ()
        # when: it asks for more of the first agent than it holds there
        together = await contest.allocate(place(10, A1, A1))
        # then
        assert together.rejected == (short(10, A1, 8, 4),)
        assert await contest.holders() == [session_id(10), session_id(11)]
        # when: it goes where it is held
        assert (await contest.allocate(place(10, A1, A2), place(11, A1))).rejected == ()
        assert await contest.holders() == []


class TestElsewhere:
    async def test_a_reserved_session_may_be_placed_on_other_agents(self, two_holds: Contest) -> None:
        # given
        await two_holds.connection.execute("UPDATE agent_slots SET capacity = 6 WHERE agent_id = $1", A2)
        # when
        result = await two_holds.allocate(place(10, A2))
        # then: its hold is gone, so the next is the first
        assert result.allocated == (session_id(10),)
        assert await two_holds.holders() == [session_id(11)]
        await two_holds.end(2)
        assert (await two_holds.allocate(place(11, A1))).rejected == ()

    async def test_there_it_counts_as_any_other(self, contest: Contest) -> None:
        # given: 10 has the first position, but on another agent than 11
        await contest.given([agent(A1), agent(A2)], [session(10, 6), session(11, 6)], {})
        assert (await contest.reserve(hold(10, A1), hold(11, A2))).rejected == ()
        # when
        result = await contest.allocate(place(10, A2))
        # then
        assert result.rejected == (short(10, A2, 6, 4),)

    async def test_a_planner_places_it_nowhere_else(self, contest: Contest) -> None:
        # given: the other agent is empty
        await contest.given([agent(A1), agent(A2)], [important(session(1, 10), LOW), session(10, 6)], {1: [A1]})
        assert (await contest.reserve(hold(10, A1, victims=[1]))).rejected == ()
        # when / then
        assert await contest.plan() == {}
        await contest.end(1)
        assert await contest.plan() == {session_id(10): (A1,)}


class TestContainers:
    async def test_are_held_as_slots_are(self, contest: Contest) -> None:
        # given: room for two containers, both of them held
        pair = session(10, 1, 1, cluster_mode=ClusterMode.SINGLE_NODE)
        await contest.given([agent(A1, max_containers=2)], [pair, session(11, 0), session(12, 0)], {})
        assert (await contest.reserve(hold(10, A1, A1))).rejected == ()
        # when
        result = await contest.allocate(place(11, A1))
        # then
        detail = ContainerShortage(requested=1, used=2, limit=2)
        expected = RejectedAllocation(session_id(11), RejectionCode.AGENT, AgentId(A1), detail)
        assert result.rejected == (expected,)
        assert await contest.plan() == {session_id(10): (A1, A1)}
        assert (await contest.allocate(place(10, A1, A1))).rejected == ()

    async def test_of_an_earlier_session_in_the_batch_count(self, contest: Contest) -> None:
        # given
        await contest.given([agent(A1, max_containers=2)], [session(number, 0) for number in (10, 11, 12)], {})
        # when
        result = await contest.reserve(hold(10, A1), hold(11, A1), hold(12, A1))
        # then
        assert result.reserved == (session_id(10), session_id(11))
        assert result.rejected[0].detail == ContainerShortage(requested=1, used=2, limit=2)


class TestAllocationOfOthers:
    async def test_beside_a_hold(self, contest: Contest) -> None:
        # given
        await contest.given([agent(A1)], [session(10, 6), session(11, 4), session(12, 5)], {})
        await contest.reserve(hold(10, A1))
        # when
        batch: list[SessionAllocation] = [place(12, A1), place(11, A1)]
        result = await contest.allocate(*batch)
        # then
        assert result.allocated == (session_id(11),)
        assert result.rejected == (short(12, A1, 5, 4),)
