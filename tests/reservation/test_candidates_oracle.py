"""The candidates of a tick are those that a naive oracle finds, in its order."""

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from scheduler_repo.types import PreemptionScope, ScalingGroupName
from tests.reservation.contest import A1, A2, LOW, Contest, important
from tests.support.cluster_rows import ClusterRows, Row, fill
from tests.support.databases import DriverConnection
from tests.support.oracle import as_naive, naive_scheduling_data
from tests.support.small_cluster import agent, session, session_id

GROUPS = ("gpu", "other")
AGENTS = ("a", "B", "ä", "_")
PROJECTS = {"lab": UUID(int=2), "Lab": UUID(int=3)}
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


def random_cluster(seed: int) -> ClusterRows:
    """Much that runs, at few times and priorities, so that each criterion of the order decides somewhere."""
    rng = Random(seed)  # noqa: S311 - a workload, not a secret
    owners = {"access_key": "key", "user_id": UUID(int=1)}
    sessions: list[Row] = []
    kernels: list[Row] = []
    for number in range(60):
        status = rng.choice(["RUNNING"] * 6 + ["PENDING", "TERMINATING", "PREPARING", "TERMINATED"])
        status = "PENDING" if number < len(GROUPS) else status
        priority = rng.randint(3, 6) if status == "PENDING" else rng.randint(1, 6)
        domain, project = rng.choice(list(PROJECTS.items()))
        copied = {
            **owners,
            "scaling_group": GROUPS[number % 2],
            "domain_name": domain,
            "project_id": project,
        }
        identity = UUID(int=rng.getrandbits(128))
        sessions.append(
            {
                "id": identity,
                "name": f"session-{number}",
                **copied,
                "session_type": "BATCH",
                "cluster_mode": "MULTI_NODE",
                "priority": priority,
                "status": status,
                "status_changed_at": EPOCH + timedelta(microseconds=rng.randrange(3)),
            }
        )
        for index in range(rng.randrange(4)):
            occupies = status != "PENDING"
            slots = [rng.randrange(4) for _ in range(rng.randrange(4))]
            kernels.append(
                {
                    "id": UUID(int=rng.getrandbits(128)),
                    "session_id": identity,
                    "kernel_index": index,
                    **copied,
                    "status": rng.choice([status, status, status, "TERMINATED"]),
                    "agent_id": rng.choice(AGENTS) if occupies else None,
                    "requested_slots": slots,
                    "occupied_slots": slots if occupies else [],
                }
            )
    return {
        "slot_types": [{"name": "cpu", "slot_index": 0}, {"name": "mem", "slot_index": 1}],
        "domains": [{"name": name} for name in PROJECTS],
        "projects": [
            {"id": project, "name": "vision", "domain_name": domain} for domain, project in PROJECTS.items()
        ],
        "users": [{"id": UUID(int=1), "name": "ada", "domain_name": "lab"}],
        "keypairs": [{"access_key": "key", "user_id": UUID(int=1)}],
        "scaling_groups": [
            {"name": "gpu", "preemption_scope": rng.choice([scope.value for scope in PreemptionScope])},
            {"name": "other", "preemption_scope": None},
        ],
        "agents": [
            {
                "id": name,
                "scaling_group": "gpu",
                "address": f"tcp://{name}",
                "architecture": "x86_64",
                "is_schedulable": rng.random() < 0.7,
            }
            for name in AGENTS
        ],
        "sessions": sessions,
        "kernels": kernels,
    }


class TestAgainstTheOracle:
    @pytest.mark.parametrize("seed", range(4))
    async def test_all_of_them(self, contest: Contest, owner_connection: DriverConnection, seed: int) -> None:
        # given
        await fill(owner_connection, random_cluster(seed))
        for group in GROUPS:
            for limit in (None, 1):
                # when
                source = contest.scheduler
                data = await source.get_scheduling_data(ScalingGroupName(group), pending_limit=limit)
                # then
                naive = await naive_scheduling_data(owner_connection, group, limit)
                assert naive is not None
                assert data.preemption_candidates == naive.preemption_candidates
                assert data == as_naive(data, naive)
                # With a limit too: what waits first has the highest priority.
                assert (len(data.preemption_candidates) > 3) == (group == "gpu")


class TestWhoIsNone:
    async def test_without_preemption_or_without_a_more_important_session(self, contest: Contest) -> None:
        # given
        await contest.given(
            [agent(A1), agent(A2)],
            [
                important(session(1, 1), LOW),
                important(session(2, 1), LOW + 1),
                important(session(3, 1), LOW + 1),
            ],
            {1: [A1], 2: [A2]},
        )

        async def candidates() -> list[object]:
            return [each.session_id for each in (await contest.read()).preemption_candidates]

        # when / then: strictly more important
        assert await candidates() == [session_id(1)]
        await contest.connection.execute("UPDATE sessions SET priority = $1 WHERE status = 'PENDING'", LOW)
        assert await candidates() == []
        await contest.connection.execute("UPDATE sessions SET priority = 9 WHERE status = 'PENDING'")
        assert await candidates() == [session_id(1), session_id(2)]
        await contest.connection.execute("UPDATE scaling_groups SET preemption_scope = NULL")
        assert await candidates() == []
