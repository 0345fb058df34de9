"""What a loop does beside its ticks, on a real database; the clock of the intervals is the test's."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, Optional

import msgspec
import pytest
from prometheus_client import REGISTRY

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.entities.audit import AuditReport
from scheduler_repo.entities.scaling_group import ScalingGroupChanges
from scheduler_repo.errors import DatabaseUnavailable, PermissionDenied, SchedulerRepoError, StaleLeaseError
from scheduler_repo.loop import running as running_module
from scheduler_repo.loop import sweeping
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.sweeping import GroupSweeps, Sweeper
from scheduler_repo.loop.sweeps import Sweeps
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import AgentStatus, LeaseHolder
from tests.loop.running import Telling, running
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import (
    GROUP,
    OTHER_GROUP,
    agent,
    cluster,
    history_of,
    session,
    session_id,
    status_of,
)
from tests.support.waiting import until

# Each test has those that it is about.
OFF: Final = Sweeps(
    lost_agents_every=None,
    recovery_every=None,
    pending_every=None,
    compare_every=None,
    fold_every=None,
    trim_every=None,
    audit_every=None,
)
SILENCE: Final = 60.0
EVERY: Final = 5.0

_FALL_SILENT: Final = "UPDATE agents SET status_changed_at = now() - interval '1 hour' WHERE id = 'a1'"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweeping, "monotonic", clock)
    return clock


@pytest.fixture
async def repos(migrated_database: Database) -> AsyncIterator[Repositories]:
    """With two agents, each with room for one session."""
    async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
        await repos.cluster.load_cluster(cluster([agent("a1", cpu=1), agent("a2", cpu=1)], []))
        yield repos


def make_sweeper(repos: Repositories, **sweeps: object) -> Sweeper:
    return Sweeper(
        repos.scheduler,
        agents=repos.agents,
        lifecycle=repos.lifecycle,
        audit=repos.audit,
        sweeps=msgspec.structs.replace(OFF, **sweeps),
    )


async def make(*sweeps: GroupSweeps) -> None:
    """Make what is due of each."""
    for each in sweeps:
        await each.make_due(None, lambda: True)


async def statuses(repos: Repositories) -> list[AgentStatus]:
    return [each.status for each in await repos.agents.list_agents(GROUP)]


class TestLostAgents:
    async def test_silent_ones_are_lost_once_they_could_have_been_heard_of(
        self, repos: Repositories, owner_connection: DriverConnection, clock: Clock
    ) -> None:
        """While the database was away no agent could send a heartbeat."""
        sweeps = GroupSweeps(make_sweeper(repos, longest_silence=SILENCE, lost_agents_every=EVERY), GROUP, None)
        await owner_connection.execute(_FALL_SILENT)

        async def sweep_for(seconds: float) -> None:
            end = clock.now + seconds
            while clock.now < end:
                clock.now += EVERY
                await make(sweeps)

        # given a process that has just begun, then none is lost, however long it was silent
        await make(sweeps)
        await sweep_for(SILENCE - EVERY)
        # when the database was away, or nobody looked for long
        sweeps.reach.note(is_reached=False, now=clock.now)
        await sweep_for(SILENCE)
        clock.now += SILENCE
        await sweep_for(SILENCE)
        assert await statuses(repos) == [AgentStatus.ALIVE, AgentStatus.ALIVE]
        # then it begins anew, and those that stay silent are lost in the end
        await sweep_for(EVERY)
        assert await statuses(repos) == [AgentStatus.LOST, AgentStatus.ALIVE]

    async def test_their_sessions_are_placed_again_and_told_of(
        self, repos: Repositories, owner_connection: DriverConnection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a loop that runs: the agent's loss to the second attempt's hand-off."""
        monkeypatch.setattr(running_module, "_LOOK_EVERY", 0.01)
        await repos.sessions.enqueue_sessions([session(1, 1)])
        telling = Telling()
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)
        async with running(
            repos, loop, sweeper=make_sweeper(repos, recovery_every=0.01), dispatcher=telling
        ) as run:
            (first,) = await telling.next_call()
            lost = first.kernels[0].agent_id
            # when its agent is lost
            await owner_connection.execute(
                "UPDATE agents SET status_changed_at = now() - interval '1 hour' WHERE id = $1", lost
            )
            await repos.agents.mark_lost_agents(GROUP, timedelta(seconds=SILENCE))
            # then the next attempt is on the other
            (second,) = await telling.next_call()
            assert (second.session_id, second.retry_count) == (first.session_id, first.retry_count + 1)
            assert second.kernels[0].agent_id != lost
            await until(lambda: run.loop.state.is_ready)
        assert [to for _, to in await history_of(owner_connection, 1)] == [
            "PENDING",
            "SCHEDULED",
            "PENDING",
            "SCHEDULED",
        ]


class TestPendingTimeouts:
    async def test_sessions_that_wait_too_long_are_cancelled(
        self, repos: Repositories, owner_connection: DriverConnection, clock: Clock
    ) -> None:
        assert clock.now
        await repos.scaling_groups.update_scaling_group(
            GROUP, ScalingGroupChanges(pending_timeout=timedelta(hours=1))
        )
        await repos.sessions.enqueue_sessions([session(1, 1), session(2, 1)])
        await owner_connection.execute(
            "UPDATE sessions SET status_changed_at = now() - interval '2 hours' WHERE id = $1", session_id(1)
        )
        await make(GroupSweeps(make_sweeper(repos, pending_every=EVERY), GROUP, None))
        assert (await status_of(owner_connection, 1))[0] == "CANCELLED"
        assert (await status_of(owner_connection, 2))[0] == "PENDING"


class Counting(SchedulerRepository):
    """Counts the folds and trims, which fail in the way that is next."""

    folds = trims = 0
    failure: Optional[SchedulerRepoError] = None

    async def fold_usage(self) -> Optional[int]:
        self.folds += 1
        if self.failure is not None:
            raise self.failure
        return 0

    async def trim_changes(self, *_: object, **__: object) -> Optional[int]:
        self.trims += 1
        return 10_000 if self.trims == 1 else 0


class TestOfTheDatabase:
    async def test_are_made_once_for_all_groups(self, repos: Repositories, clock: Clock) -> None:
        scheduler = Counting(repos.scheduler._db_source)
        audits: list[AuditReport] = []
        audit = repos.audit.audit

        async def watched() -> AuditReport:
            audits.append(await audit())
            return audits[-1]

        repos.audit.audit = watched  # type: ignore[method-assign] # it is watched
        sweeper = Sweeper(
            scheduler,
            audit=repos.audit,
            sweeps=msgspec.structs.replace(OFF, fold_every=1.0, trim_every=60.0, audit_every=600.0),
        )
        groups = [GroupSweeps(sweeper, group, None) for group in (GROUP, OTHER_GROUP)]
        for clock.now in (1_000.0, 1_000.5, 1_001.0, 1_002.0, 1_061.0, 1_600.0):
            await make(*groups)
        assert scheduler.folds == 5
        # One that left something is made again soon.
        assert scheduler.trims == 4
        assert len(audits) == 1
        found = REGISTRY.get_sample_value("scheduler_repo_audit_findings", {"check": "agent_slots_occupied"})
        assert found == 0

    async def test_one_that_fails_is_said_once_and_holds_up_no_other(
        self, repos: Repositories, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "scheduler_repo")
        scheduler = Counting(repos.scheduler._db_source)
        sweeper = Sweeper(scheduler, sweeps=msgspec.structs.replace(OFF, fold_every=1.0, trim_every=1.0))
        sweeps = GroupSweeps(sweeper, GROUP, None)
        # What the ticks meet too is theirs to say.
        for scheduler.failure in (DatabaseUnavailable("gone"), PermissionDenied("may not"), None):
            for _ in range(3):
                clock.now += 1.0
                await make(sweeps)
            assert sweeps.errors == (3 if isinstance(scheduler.failure, PermissionDenied) else 0)
        assert (scheduler.folds, scheduler.trims) == (9, 9)
        assert [record.getMessage()[:52] for record in caplog.records] == [
            "the sweep fold of the database failed, and goes on b",
            "the sweep fold of the database succeeded again, afte",
        ]

    async def test_none_is_begun_when_the_lead_is_over(self, repos: Repositories, clock: Clock) -> None:
        assert clock.now
        scheduler = Counting(repos.scheduler._db_source)
        sweeper = Sweeper(scheduler, sweeps=msgspec.structs.replace(OFF, fold_every=1.0))
        await GroupSweeps(sweeper, GROUP, None).make_due(None, lambda: False)
        assert scheduler.folds == 0


class TestLease:
    async def test_a_former_leader_sweeps_nothing(self, repos: Repositories, clock: Clock) -> None:
        assert clock.now
        former = await repos.leases.acquire_lease(GROUP, LeaseHolder("one"), timedelta(seconds=60))
        await repos.leases.release_lease(former)
        sweeps = GroupSweeps(make_sweeper(repos, recovery_every=EVERY), GROUP, None)
        with pytest.raises(StaleLeaseError):
            await sweeps.make_due(former, lambda: True)


class TestComparison:
    async def test_is_begun_at_its_time(self, repos: Repositories, clock: Clock) -> None:
        begun: list[float] = []
        sweeps = GroupSweeps(make_sweeper(repos, compare_every=600.0), GROUP, lambda: begun.append(clock.now))
        for clock.now in (1_000.0, 1_599.0, 1_600.0, 1_601.0, 2_200.0):
            await make(sweeps)
        assert begun == [1_600.0, 2_200.0]
