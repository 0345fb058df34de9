"""The index finds an agent where looking at every agent does, and only there, however much was taken."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scheduler_repo.entities.scheduling_data import PendingSession, SchedulableAgent
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.free_capacity import FreeCapacitySet
from scheduler_repo.scheduling.rules.feasibility import Load, NodeRequest, agent_obstacle, wanted_slots
from scheduler_repo.types import AgentId
from tests.support.strategies import ARM, X86, make_agent, make_data, make_session


class TestFreeCapacitySet:
    """Against a plain sorted list, with enough states for many blocks."""

    @given(st.randoms(use_true_random=True))
    @settings(max_examples=2, deadline=None)
    def test_walks_up_what_fits(self, source: Random) -> None:
        # given
        states, plain = FreeCapacitySet(), set[tuple[int, ...]]()
        for _ in range(1500):
            # when: more come than go, then the other way round
            if plain and source.random() < (0.25 if len(plain) < 400 else 0.5):
                state = source.choice(sorted(plain))
                plain.remove(state)
                states.remove(state)
            else:
                state = tuple(source.randrange(-2, 30) for _ in range(3))
                if state in plain:
                    continue
                plain.add(state)
                states.add(state)
            wanted = wanted_slots(tuple(source.choice([0, source.randrange(40)]) for _ in range(3)))
            # then
            expected = [each for each in sorted(plain) if all(each[i] >= amount for i, amount in wanted)]
            assert list(states.fitting(wanted)) == expected

    def test_emptied_and_filled_again(self) -> None:
        states = FreeCapacitySet()
        states.add((1,))
        states.remove((1,))
        assert list(states.fitting(())) == []
        states.add((2,))
        assert list(states.fitting(((0, 2),))) == [(2,)]

    def test_states_without_dimensions(self) -> None:
        states = FreeCapacitySet()
        states.add(())
        assert list(states.fitting(())) == [()]


class _PlainCluster:
    """Free slots and containers per agent, asked by the predicate one agent after the other."""

    def __init__(self, source: Random, agent_count: int) -> None:
        self.agents = tuple(
            make_agent(
                f"agent-{number:03}",
                (source.randrange(1, 40), source.randrange(1, 40), source.choice([0, 0, 8, 20])),
                architecture=source.choice([X86, ARM]),
                running=source.randrange(3),
                max_containers=source.choice([None, 4, 30]),
            )
            for number in range(agent_count)
        )
        self.taken = {agent.agent_id: Load((), 0) for agent in self.agents}

    def fitting(self, request: NodeRequest, designated: tuple[AgentId, ...]) -> list[AgentId]:
        return [
            agent.agent_id
            for agent in self.agents
            if agent_obstacle(request, designated, agent, self.taken[agent.agent_id]) is None
        ]

    def take(self, agent_id: AgentId, request: NodeRequest) -> Load:
        before = self.taken[agent_id]
        self.taken[agent_id] = before.plus(Load(request.requested_slots, request.container_count))
        return before


class TestCapacityIndex:
    @given(st.randoms(use_true_random=True), st.integers(0, 150))
    @settings(deadline=None)
    def test_agrees_with_the_predicate_on_every_agent(self, source: Random, agent_count: int) -> None:
        """A random cluster, and requests of which some are taken and some of those restored."""
        cluster = _PlainCluster(source, agent_count)
        index = CapacityIndex(make_data(cluster.agents))
        for _ in range(150):
            request = self._request(source)
            designated = self._designated(source, cluster)
            # when
            spot = index.find(request, designated)
            fitting = cluster.fitting(request, designated)
            # then
            if spot is None:
                assert not fitting
                continue
            assert spot.agent_id in fitting
            state = index.take(spot)
            plain = cluster.take(spot.agent_id, request)
            if source.random() < 0.2:
                index.restore(spot.agent_id, state)
                cluster.taken[spot.agent_id] = plain

    def test_as_if_empty(self) -> None:
        # given
        agent = make_agent("a", (4, 4, 4), (4, 4, 4), running=3, max_containers=3)
        request = NodeRequest((4, 4, 4), 3, ())
        # when / then
        assert CapacityIndex(make_data((agent,))).find(request) is None
        spot = CapacityIndex(make_data((agent,)), empty=True).find(request)
        assert spot is not None
        assert spot.agent_id == "a"

    @given(st.integers(0, 2**64))
    @settings(max_examples=5, deadline=None)
    def test_that_follows_finds_what_a_new_one_does(self, seed: int) -> None:
        """As sessions come that weigh slots otherwise, and agents come, change and go."""
        source = Random(seed)  # noqa: S311 - a workload, not a secret
        agents = {agent.agent_id: agent for agent in _PlainCluster(source, 60).agents}
        sessions: list[PendingSession] = []
        index = CapacityIndex(make_data(tuple(agents.values())))
        for number in range(1, 9):
            # given: much of one slot, that another becomes the scarcest now and then
            amounts = [source.choice([0, 1, 8]) for _ in range(3)]
            session = make_session(number, *[tuple(amounts)] * source.randrange(1, 40))
            sessions.append(session)
            index.mix.count_kernels(session.kernels)
            if source.random() < 0.4:
                self._change_agent(source, agents, index)
            # when
            now = tuple(agents[agent_id] for agent_id in sorted(agents))
            index.forget_gainers()
            index.settle(now)
            # then
            new = CapacityIndex(make_data(now, tuple(sessions)))
            for _ in range(40):
                request = self._request(source)
                assert index.find(request) == new.find(request)

    def _change_agent(
        self, source: Random, agents: dict[AgentId, SchedulableAgent], index: CapacityIndex
    ) -> None:
        agent_id = source.choice(sorted(agents))
        was = agents.pop(agent_id)
        index.mix.count_agent(was, -1)
        now = replace(was, capacity=(*was.capacity[:2], source.choice([0, 8])))
        if source.random() < 0.7:
            agents[agent_id] = now
            index.mix.count_agent(now)
        index.set_agent(agent_id, agents.get(agent_id))

    def _request(self, source: Random) -> NodeRequest:
        amounts = source.randrange(20), source.choice([0, source.randrange(20)]), source.choice([0, 0, 3, 8])
        beyond: tuple[int, ...] = source.choice([(), (), (0,), (0, 1)])
        architectures = source.choice([(), (), (X86,), (ARM,), (ARM, X86)])
        return NodeRequest(amounts + beyond, source.randrange(1, 4), architectures)

    def _designated(self, source: Random, cluster: _PlainCluster) -> tuple[AgentId, ...]:
        if source.random() < 0.7:
            return ()
        known = [agent.agent_id for agent in source.sample(cluster.agents, min(3, len(cluster.agents)))]
        return (*known, AgentId("agent-gone"))
