"""What is set shows in the very next tick, and holds for plans that were made before."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Optional

import pytest

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode
from scheduler_repo.entities.obstacles import OwnerBreach, QuotaBreach, QuotaKind
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import OwnerScope, ResourcePolicyName, SlotName, TransactionId
from tests.policies.tick_owners import only_owners
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    ACCESS_KEY,
    CPU,
    DOMAIN,
    GROUP,
    OWNER_IDS,
    PROJECT,
    USER,
    agent,
    cluster,
    session,
    session_id,
)

SMALL = ResourcePolicyName("small")
SCOPES = sorted(OwnerScope)
SetLimit = Callable[[Mapping[SlotName, Optional[int]]], Awaitable[Optional[TransactionId]]]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("by_policy", [False, True], ids=["quota", "policy"])
class TestNextTick:
    @pytest.fixture(autouse=True)
    async def small_cluster(self, load: Load) -> None:
        await load(cluster([agent("a1")], [session(1, 3, 2), session(2, 1)]))

    @pytest.fixture
    async def set_limit(
        self,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        small_cluster: None,
        scope: OwnerScope,
        by_policy: bool,
    ) -> SetLimit:
        """Sets a limit of the owner: in its quota, or in the policy that its quota refers to."""
        if by_policy:
            await policies.set_resource_policies([ResourcePolicySpec(name=SMALL)])
            quota = QuotaSpec(scope=scope, owner_id=OWNER_IDS[scope], resource_policy=SMALL)
            await quotas.set_quotas([quota])

        async def set_limit(limits: Mapping[SlotName, Optional[int]]) -> Optional[TransactionId]:
            if by_policy:
                return await policies.set_resource_policies(
                    [ResourcePolicySpec(name=SMALL, slot_limits=limits)]
                )
            quota = QuotaSpec(scope=scope, owner_id=OWNER_IDS[scope], slot_limits=limits)
            return await quotas.set_quotas([quota])

        return set_limit

    async def test_a_limit_is_seen_and_seen_to_go(
        self, set_limit: SetLimit, scheduler: SchedulerRepository, scope: OwnerScope
    ) -> None:
        for limit in (4, 0, None, 7):
            # given
            before = await scheduler.get_scheduling_data(GROUP)
            # when
            written = await set_limit({CPU: limit})
            # then
            data = await scheduler.get_scheduling_data(GROUP)
            usages = only_owners(data)
            assert {each: usage.slot_limits for each, usage in usages.items()} == {
                each: (limit if each is scope else None, None) for each in OwnerScope
            }
            assert written is not None
            assert (before.has_seen(written), data.has_seen(written)) == (False, True)

    async def test_a_plan_made_before_is_rejected(
        self, set_limit: SetLimit, scheduler: SchedulerRepository, scope: OwnerScope
    ) -> None:
        # given
        plan = BestFitPlanner().plan(await scheduler.get_scheduling_data(GROUP))
        assert [each.session_id for each in plan] == [session_id(1), session_id(2)]
        # when
        await set_limit({CPU: 4})
        result = await scheduler.allocate_sessions(GROUP, plan)
        # then
        breach = QuotaBreach(QuotaKind.SLOT, 0, used=0, requested=5, limit=4)
        detail = OwnerBreach(scope, OWNER_IDS[scope], breach)
        assert result.rejected == (RejectedAllocation(session_id(1), RejectionCode.OWNER_LIMIT, None, detail),)
        assert result.allocated == (session_id(2),)

    async def test_a_limit_that_is_taken_away_lets_the_plan_in(
        self, set_limit: SetLimit, scheduler: SchedulerRepository, scope: OwnerScope
    ) -> None:
        # given
        plan = BestFitPlanner().plan(await scheduler.get_scheduling_data(GROUP))
        await set_limit({CPU: 0})
        assert len((await scheduler.allocate_sessions(GROUP, plan)).rejected) == 2
        # when
        await set_limit({})
        # then
        assert (await scheduler.allocate_sessions(GROUP, plan)).allocated == (session_id(1), session_id(2))


class TestInactiveOwners:
    async def test_nothing_acts_on_the_mark(
        self, load: Load, owners: OwnerRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await load(cluster([agent("a1")], [session(1, 1)]))
        await owners.set_domains_active([DOMAIN], False)
        await owners.set_projects_active([PROJECT], False)
        await owners.set_users_active([USER], False)
        await owners.set_keypairs_active([ACCESS_KEY], False)
        # when
        plan = BestFitPlanner().plan(await scheduler.get_scheduling_data(GROUP))
        result = await scheduler.allocate_sessions(GROUP, plan)
        # then
        assert result.allocated == (session_id(1),)
