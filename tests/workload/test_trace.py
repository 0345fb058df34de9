"""A trace becomes a cluster, exactly and in order."""

from datetime import timedelta
from itertools import pairwise

import pytest

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.workload.slot_types import CPU, CUDA_SHARES, MEM
from scheduler_repo.workload.trace import TRACE_START, read_trace
from tests.support.trace_location import needs_trace, trace_directory
from tests.workload.trace_folder import GROUP, NODE, NODE_HEADER, POD, POD_HEADER, TraceFolder, pod


class TestWhatIsRead:
    @pytest.fixture
    def session(self, trace: TraceFolder) -> SessionCreationSpec:
        return trace.read().sessions[0]

    def test_a_node_is_an_agent_with_exact_capacity(self, trace: TraceFolder) -> None:
        # When
        (agent,) = trace.read().agents

        # Then
        assert agent.agent_id == "n0"
        assert agent.scaling_group == GROUP
        assert dict(agent.capacity) == {CPU: 32_000, MEM: 1024 * 2**20, CUDA_SHARES: 2_000}

    def test_a_task_is_a_session_of_one_kernel(self, session: SessionCreationSpec) -> None:
        # Then
        (kernel,) = session.kernels
        assert dict(kernel.requested_slots) == {CPU: 1_000, MEM: 512 * 2**20, CUDA_SHARES: 460}
        assert session.created_at == TRACE_START + timedelta(seconds=7)
        assert session.designated_agent_ids == ()

    def test_gpus_times_share_are_asked(self, trace: TraceFolder) -> None:
        # Given
        trace.write_pods(pod(gpus="8", milli="1000"))

        # Then
        assert trace.read().sessions[0].kernels[0].requested_slots[CUDA_SHARES] == 8_000

    def test_slots_of_zero_are_left_out(self, trace: TraceFolder) -> None:
        # Given
        trace.write_nodes("n0,32000,1024,0,")
        trace.write_pods(pod(mem="0", gpus="0", milli="1000"))

        # When
        cluster = trace.read()

        # Then
        assert set(cluster.agents[0].capacity) == {CPU, MEM}
        assert set(cluster.sessions[0].kernels[0].requested_slots) == {CPU}

    def test_the_qos_class_is_the_project(self, trace: TraceFolder) -> None:
        # Given
        trace.write_pods(pod("a", qos="LS"), pod("b", qos="BE"), pod("c", qos="LS"))

        # When
        cluster = trace.read()

        # Then
        names = {project.project_id: project.name for project in cluster.owners.projects}
        assert [names[session.project_id] for session in cluster.sessions] == ["LS", "BE", "LS"]

    def test_every_reference_exists(self, trace: TraceFolder) -> None:
        # When
        cluster = trace.read()

        # Then
        (session,), (user,), (keypair,) = cluster.sessions, cluster.owners.users, cluster.owners.keypairs
        assert session.user_id == keypair.user_id == user.user_id
        assert session.access_key == keypair.access_key
        assert session.domain_name == user.domain_name == cluster.owners.projects[0].domain_name
        assert session.domain_name in cluster.owners.domains
        assert [group.name for group in cluster.scaling_groups] == [GROUP]
        assert {CPU, MEM, CUDA_SHARES} == {slot_type.name for slot_type in cluster.slot_types}

    def test_two_readings_are_equal(self, trace: TraceFolder) -> None:
        assert trace.read() == trace.read()

    def test_the_largest_amount_is_taken(self, trace: TraceFolder) -> None:
        # Given
        trace.write_nodes(f"n0,{2**63 - 1},{2**43 - 1},0,")

        # Then
        assert trace.read().agents[0].capacity == {CPU: 2**63 - 1, MEM: (2**43 - 1) * 2**20}


class TestOrder:
    def test_creation_time_orders_and_the_file_breaks_ties(self, trace: TraceFolder) -> None:
        # Given
        created = {"z": "5", "m": "5", "a": "5", "first": "0", "last": "6"}
        trace.write_pods(*(pod(name, created=seconds) for name, seconds in created.items()))

        # When
        sessions = trace.read().sessions

        # Then
        assert [session.name for session in sessions] == ["first", "z", "m", "a", "last"]
        times = [session.created_at for session in sessions if session.created_at is not None]
        assert len(times) == len(sessions)
        assert all(earlier < later for earlier, later in pairwise(times))


class TestDesignatedAgents:
    @pytest.fixture
    def models(self, trace: TraceFolder) -> TraceFolder:
        trace.write_nodes("t1,1,1,1,T4", "g1,1,1,1,G2", "t0,1,1,1,T4", "c0,1,1,0,")
        return trace

    @pytest.mark.parametrize(
        ("gpu_spec", "expected"),
        [
            ("", ()),
            ("T4", ("t0", "t1")),
            ("G2|T4", ("g1", "t0", "t1")),
            ("T4|T4", ("t0", "t1")),
            ("T4|H100", ("t0", "t1")),
        ],
    )
    def test_gpu_spec_designates_the_agents_of_its_models(
        self, models: TraceFolder, gpu_spec: str, expected: tuple[str, ...]
    ) -> None:
        # Given
        models.write_pods(pod(spec=gpu_spec))

        # Then
        assert models.read().sessions[0].designated_agent_ids == expected

    def test_models_that_nobody_has_never_become_any_agent(self, models: TraceFolder) -> None:
        # Given
        models.write_pods(pod(spec="H100|B200"))

        # When
        cluster = models.read()

        # Then
        designated = cluster.sessions[0].designated_agent_ids
        assert designated == ("no-agent-of-model:B200", "no-agent-of-model:H100")
        assert not set(designated) & {agent.agent_id for agent in cluster.agents}


class TestTolerated:
    @pytest.mark.parametrize("ending", ["\n\n\n", "\r\n  \r\n", ""])
    def test_blank_lines_at_the_end(self, trace: TraceFolder, ending: str) -> None:
        # Given
        trace.pods.write_text(f"{POD_HEADER}\n{POD}{ending}", encoding="utf-8", newline="")

        # Then
        assert [session.name for session in trace.read().sessions] == ["p0"]

    def test_a_byte_order_mark_and_carriage_returns(self, trace: TraceFolder) -> None:
        # Given
        trace.nodes.write_bytes(f"\ufeff{NODE_HEADER}\r\n{NODE}\r\n".encode())

        # Then
        assert [agent.agent_id for agent in trace.read().agents] == ["n0"]

    def test_other_columns_and_another_order(self, trace: TraceFolder) -> None:
        # Given
        trace.write_nodes(
            '"note, of\ntwo lines",T4,2,1024,32000,n0', header="note,model,gpu,memory_mib,cpu_milli,sn"
        )

        # Then
        assert trace.read().agents[0].capacity[CPU] == 32_000

    def test_no_rows(self, trace: TraceFolder) -> None:
        # Given
        trace.write_nodes()
        trace.write_pods()

        # When
        cluster = trace.read()

        # Then
        assert (cluster.agents, cluster.sessions, cluster.owners.projects) == ((), (), ())


@needs_trace
class TestProductionTrace:
    @pytest.fixture
    def cluster(self) -> ClusterSpec:
        folder = trace_directory()
        return read_trace(folder / "nodes.csv", folder / "pods.csv", GROUP)

    def test_it_has_all_nodes_and_tasks(self, cluster: ClusterSpec) -> None:
        assert len(cluster.agents) == 1_523
        assert len(cluster.sessions) == 8_152

    def test_it_asks_for_nearly_all_gpus(self, cluster: ClusterSpec) -> None:
        # When
        capacity = sum(agent.capacity.get(CUDA_SHARES, 0) for agent in cluster.agents)
        asked = sum(
            kernel.requested_slots.get(CUDA_SHARES, 0)
            for session in cluster.sessions
            for kernel in session.kernels
        )

        # Then: 6,212 GPUs and 6,086.8, rounded 6,087
        assert (capacity, asked) == (6_212_000, 6_086_800)

    def test_its_sessions_are_in_the_order_of_the_file(self, cluster: ClusterSpec) -> None:
        # When
        by_time = sorted(cluster.sessions, key=lambda session: session.created_at or TRACE_START)

        # Then
        assert [session.name for session in by_time] == [f"openb-pod-{number:04d}" for number in range(8_152)]
        assert len({session.created_at for session in cluster.sessions}) == 8_152

    def test_its_ids_are_unique(self, cluster: ClusterSpec) -> None:
        assert len({session.session_id for session in cluster.sessions}) == 8_152
        assert len({kernel.kernel_id for session in cluster.sessions for kernel in session.kernels}) == 8_152
