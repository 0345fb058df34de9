"""Limits that are set while batches are placed: none that commits later goes by the old, none deadlocks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from random import Random
from typing import TypeVar

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import AllocationResult, RejectionCode
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import OwnersSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import DomainName, OwnerScope, ResourcePolicyName
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    CPU,
    DOMAIN,
    GROUP,
    OWNER_IDS,
    agent,
    cluster,
    place,
    session,
    session_id,
)
from tests.support.waiting import PATIENCE, until_blocked

T = TypeVar("T")
SMALL, LARGE = ResourcePolicyName("small"), ResourcePolicyName("large")
# Behind the other one in the order of locks; no batch needs it.
IDLE = DomainName("zzz-idle")
IDLE_QUOTA = QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=IDLE, resource_policy=SMALL)
LOWERED = {CPU: 8}
ROUNDS = 8
DOMAINS = tuple(DomainName(f"domain-{number:02}") for number in range(20))

# A batch has read its limits by then, and waits for this to write.
AT_THE_WRITE = "SELECT FROM kernels FOR UPDATE"
# A change has taken all its other locks by then.
THE_IDLE_QUOTA = f"SELECT FROM quotas WHERE owner_id = '{IDLE}' FOR UPDATE"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
OF_THE_ENGINE = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'scheduler-repo'
"""


def lab_quota(**limits: object) -> QuotaSpec:
    return QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=DOMAIN, **limits)  # type: ignore[arg-type]


def domains_of(*names: DomainName) -> ClusterSpec:
    return ClusterSpec(slot_types=(), scaling_groups=(), agents=(), owners=OwnersSpec(domains=names))


class LimitRace:
    """Two sessions of one domain, each for an agent of its own; its limits may be lowered to one of them."""

    @pytest.fixture(autouse=True)
    async def two_sessions(
        self, load: Load, quotas: QuotaRepository, policies: ResourcePolicyRepository
    ) -> None:
        await load(cluster([agent("a1"), agent("a2")], [session(1, 8), session(2, 8)]))
        await load(domains_of(IDLE))
        await policies.set_resource_policies([ResourcePolicySpec(name=name) for name in (SMALL, LARGE)])
        await quotas.set_quotas([IDLE_QUOTA])

    @pytest.fixture
    async def holder(self, migrated_database: Database) -> AsyncIterator[DriverConnection]:
        """Somebody who holds a lock, and so stops others at a place of the test's choice."""
        async with migrated_database.driver_as(OWNER) as connection:
            yield connection

    async def started(
        self, work: Coroutine[None, None, T], watcher: DriverConnection, waiting: int
    ) -> asyncio.Task[T]:
        """Start something that has to wait, so that so many wait in all; fail at once if it does not."""
        task = asyncio.create_task(work)
        blocked = asyncio.create_task(until_blocked(watcher, waiting))
        await asyncio.wait((task, blocked), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            blocked.cancel()
            await asyncio.wait((blocked,))
            pytest.fail(f"it did not wait, and answered {task.result()}")
        await blocked
        return task


Change = Callable[[QuotaRepository, ResourcePolicyRepository], Coroutine[None, None, object]]


async def lower_the_quota(quotas: QuotaRepository, policies: ResourcePolicyRepository) -> object:
    return await quotas.set_quotas([IDLE_QUOTA, lab_quota(slot_limits=LOWERED)])


async def lower_the_policy(quotas: QuotaRepository, policies: ResourcePolicyRepository) -> object:
    return await policies.set_resource_policies([ResourcePolicySpec(name=SMALL, slot_limits=LOWERED)])


async def change_the_policy_of_the_quota(quotas: QuotaRepository, policies: ResourcePolicyRepository) -> object:
    return await quotas.set_quotas([IDLE_QUOTA, lab_quota(resource_policy=LARGE, max_concurrent_sessions=1)])


CHANGES = {
    "quota": ([lab_quota()], lower_the_quota),
    "first quota": ([], lower_the_quota),
    "policy": ([lab_quota(resource_policy=SMALL)], lower_the_policy),
    "other policy": ([lab_quota(resource_policy=SMALL)], change_the_policy_of_the_quota),
}


@pytest.mark.parametrize(("given", "change"), CHANGES.values(), ids=CHANGES.keys())
class TestBatchUnderWay(LimitRace):
    async def test_a_batch_that_has_read_its_limits_commits_before_they_change(
        self,
        given: list[QuotaSpec],
        change: Change,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        scheduler: SchedulerRepository,
        holder: DriverConnection,
        owner_connection: DriverConnection,
    ) -> None:
        # given a batch that stands before its writes
        await quotas.set_quotas(given)
        async with holder.transaction():
            await holder.execute(AT_THE_WRITE)
            batch = await self.started(
                scheduler.allocate_sessions(GROUP, [place(1, "a1")]), owner_connection, 1
            )
            # when, then the change waits for it
            changing = await self.started(change(quotas, policies), owner_connection, 2)
        assert (await batch).allocated == (session_id(1),)
        await changing
        # then the next one goes by what is new
        result = await scheduler.allocate_sessions(GROUP, [place(2, "a2")])
        assert [each.code for each in result.rejected] == [RejectionCode.OWNER_LIMIT]

    async def test_a_batch_that_comes_before_the_change_commits_waits_for_it(
        self,
        given: list[QuotaSpec],
        change: Change,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        scheduler: SchedulerRepository,
        holder: DriverConnection,
        owner_connection: DriverConnection,
    ) -> None:
        # given a change that stands before its end
        await quotas.set_quotas(given)
        assert (await scheduler.allocate_sessions(GROUP, [place(1, "a1")])).allocated
        async with holder.transaction():
            await holder.execute(THE_IDLE_QUOTA)
            changing = await self.started(change(quotas, policies), owner_connection, 1)
            # when
            batch = await self.started(
                scheduler.allocate_sessions(GROUP, [place(2, "a2")]), owner_connection, 2
            )
        await changing
        # then
        assert [each.code for each in (await batch).rejected] == [RejectionCode.OWNER_LIMIT]


class TestPolicyChangeUnderWay(LimitRace):
    async def test_a_quota_cannot_come_under_a_policy_that_is_being_changed(
        self,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        holder: DriverConnection,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        async with holder.transaction():
            await holder.execute(THE_IDLE_QUOTA)
            changing = await self.started(lower_the_policy(quotas, policies), owner_connection, 1)
            # when, then: else a batch could judge by the policy as it was, under a quota that nobody has locked
            joining = await self.started(
                quotas.set_quotas([lab_quota(resource_policy=SMALL)]), owner_connection, 2
            )
        await asyncio.gather(changing, joining)
        limits = await quotas.get_effective_limits(OwnerScope.DOMAIN, DOMAIN)
        assert limits.slot_limits == (8, None)


class TestLockOrder:
    """Whoever sets limits, in whatever order, and whoever places sessions meanwhile: none deadlocks."""

    @pytest.fixture
    async def deadlocks(
        self, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> Callable[[], Awaitable[int]]:
        """How many there were in this database; retries would hide them."""

        async def count() -> int:
            # A connection reports what it saw when it ends, if not before.
            await engine.dispose()
            async with asyncio.timeout(PATIENCE):
                while await owner_connection.fetchval(OF_THE_ENGINE):
                    await owner_connection.execute("SELECT pg_sleep(0.01)")
            found: int = await owner_connection.fetchval(DEADLOCKS)
            return found

        return count

    async def test_quotas_in_opposite_orders(
        self, load: Load, quotas: QuotaRepository, deadlocks: Callable[[], Awaitable[int]]
    ) -> None:
        # given
        await load(domains_of(*DOMAINS))
        specs = [QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=name) for name in DOMAINS]
        # when
        for _ in range(ROUNDS):
            await asyncio.gather(*(quotas.set_quotas(order) for order in (specs, specs[::-1]) * 2))
        # then
        assert await deadlocks() == 0

    async def test_quotas_policies_and_batches_at_once(
        self,
        load: Load,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
        deadlocks: Callable[[], Awaitable[int]],
    ) -> None:
        # given
        rng = Random(3)  # noqa: S311 - a workload, not a secret
        numbers = range(ROUNDS * 4)
        await load(
            cluster([agent(f"a{number}") for number in numbers], [session(number, 1) for number in numbers])
        )
        await load(domains_of(*DOMAINS))
        both = [ResourcePolicySpec(name=name) for name in (SMALL, LARGE)]
        await policies.set_resource_policies(both)
        owners = [*OWNER_IDS.items(), *((OwnerScope.DOMAIN, name) for name in DOMAINS)]

        async def set_some() -> None:
            chosen = rng.sample(owners, len(owners) // 2)
            await quotas.set_quotas(
                [
                    QuotaSpec(scope=scope, owner_id=owner_id, resource_policy=rng.choice((None, SMALL, LARGE)))
                    for scope, owner_id in chosen
                ]
            )

        async def place_one(number: int) -> AllocationResult:
            return await scheduler.allocate_sessions(GROUP, [place(number, f"a{number}")])

        # when
        placed = 0
        for first in range(0, len(numbers), 4):
            results = await asyncio.gather(
                *(place_one(number) for number in numbers[first : first + 4]),
                set_some(),
                set_some(),
                policies.set_resource_policies(rng.sample(both, 2)),
                policies.set_resource_policies(both[::-1]),
            )
            placed += sum(len(each.allocated) for each in results if isinstance(each, AllocationResult))
        # then
        assert await deadlocks() == 0
        assert placed == len(numbers)


class TestTurns:
    async def test_a_first_quota_waits_for_no_allocation_that_began_after_it(
        self, load: Load, engine: ExtendedAsyncSAEngine, scheduler: SchedulerRepository
    ) -> None:
        # given allocations of which one is always under way
        count = 200
        await load(cluster([agent("a1", cpu=count)], [session(number, 1) for number in range(count)]))
        await load(domains_of(*DOMAINS))
        numbers = iter(range(count))
        is_over = False

        async def allocate() -> None:
            for number in numbers:
                await scheduler.allocate_sessions(GROUP, [place(number, "a1")])
                if is_over:
                    return

        allocating = [asyncio.create_task(allocate()) for _ in range(4)]
        # when
        quotas = QuotaRepository(QuotaDBSource(engine))
        for domain in DOMAINS[:5]:
            await quotas.set_quotas([QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=domain)])
        # then they had not all to end before
        is_over = True
        await asyncio.gather(*allocating)
        assert next(numbers, None) is not None
