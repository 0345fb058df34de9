"""Quotas are read as they were set, replaced whole, and say what the scheduler goes by."""

from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import OwnersSpec
from scheduler_repo.entities.quota import EffectiveLimits, Quota, QuotaSpec, QuotaUsage
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import (
    InvalidCursor,
    OwnerNotFound,
    QuotaNotFound,
    ResourcePolicyNotFound,
    UnknownSlotType,
)
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import DomainName, OwnerScope, ResourcePolicyName, SlotName
from scheduler_repo.validation import MAX_QUANTITY
from tests.policies.tick_owners import only_owners
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    CPU,
    DOMAIN,
    GROUP,
    MEM,
    OWNER_IDS,
    PROJECT,
    USER,
    agent,
    cluster,
    place,
    session,
)

SMALL = ResourcePolicyName("small")
SCOPES = sorted(OwnerScope)
UNLIMITED = EffectiveLimits(None, (None, None), None, None)

counts = st.none() | st.integers(0, 3)
limits = st.dictionaries(st.sampled_from((CPU, MEM)), st.none() | st.sampled_from((0, 1, 5, MAX_QUANTITY)))


def more_domains(*names: DomainName) -> ClusterSpec:
    """Domains that nobody is in yet."""
    return ClusterSpec(slot_types=(), scaling_groups=(), agents=(), owners=OwnersSpec(domains=names))


class SmallCluster:
    """A cluster of two slots where a session of every owner runs, one waits, and none is limited."""

    @pytest.fixture(autouse=True)
    async def small_cluster(self, load: Load, scheduler: SchedulerRepository) -> None:
        await load(cluster([agent("a1")], [session(1, 3, 2), session(2, 1)]))
        assert (await scheduler.allocate_sessions(GROUP, [place(1, "a1", "a1")])).allocated


class TestQuotaRepository(SmallCluster):
    @pytest.mark.parametrize("scope", SCOPES)
    async def test_it_is_read_as_it_was_set_and_replaced_whole(
        self, quotas: QuotaRepository, policies: ResourcePolicyRepository, scope: OwnerScope
    ) -> None:
        # given
        owner_id = OWNER_IDS[scope]
        await policies.set_resource_policies([ResourcePolicySpec(name=SMALL)])
        full = QuotaSpec(
            scope=scope,
            owner_id=owner_id,
            resource_policy=SMALL,
            slot_limits={MEM: 0, CPU: MAX_QUANTITY},
            max_concurrent_sessions=2**31 - 1,
        )
        # when
        assert await quotas.set_quotas([full]) is not None
        # then
        assert await quotas.get_quota(scope, owner_id) == Quota(
            scope, owner_id, SMALL, (MAX_QUANTITY, 0), 2**31 - 1
        )
        # when
        await quotas.set_quotas((QuotaSpec(scope=scope, owner_id=owner_id),))
        # then
        assert await quotas.find_quota(scope, owner_id) == Quota(scope, owner_id, None, (None, None), None)

    async def test_one_that_is_not_there(self, quotas: QuotaRepository) -> None:
        assert await quotas.find_quota(OwnerScope.USER, str(USER)) is None
        with pytest.raises(QuotaNotFound, match=f"USER {USER} has no quota"):
            await quotas.get_quota(OwnerScope.USER, str(USER))

    @pytest.mark.parametrize(
        ("bad", "error", "named"),
        [
            (QuotaSpec(scope=OwnerScope.USER, owner_id=str(PROJECT)), OwnerNotFound, f"USER '{PROJECT}'"),
            (QuotaSpec(scope=OwnerScope.PROJECT, owner_id=str(USER)), OwnerNotFound, f"PROJECT '{USER}'"),
            (QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id="lab"), OwnerNotFound, "ACCESS_KEY 'lab'"),
            (QuotaSpec(scope=OwnerScope.DOMAIN, owner_id="key"), OwnerNotFound, "DOMAIN 'key'"),
            (
                QuotaSpec(scope=OwnerScope.USER, owner_id=str(USER), resource_policy=SMALL),
                ResourcePolicyNotFound,
                "'small'",
            ),
            (
                QuotaSpec(scope=OwnerScope.USER, owner_id=str(USER), slot_limits={SlotName("tpu"): 1}),
                UnknownSlotType,
                "unknown slot tpu",
            ),
        ],
    )
    async def test_what_it_refers_to_must_be_there_else_none_is_set(
        self, quotas: QuotaRepository, bad: QuotaSpec, error: type[Exception], named: str
    ) -> None:
        # given
        good = QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=DOMAIN, max_concurrent_sessions=1)
        # when
        with pytest.raises(error, match=named):
            await quotas.set_quotas([good, bad])
        # then
        assert (await quotas.search_quotas()).items == ()

    async def test_no_quotas(self, quotas: QuotaRepository) -> None:
        assert await quotas.set_quotas(()) is None

    @pytest.mark.parametrize("limit", [1, 2, 5, 1000])
    @pytest.mark.parametrize("scope", [None, OwnerScope.DOMAIN, OwnerScope.USER])
    async def test_pages_hold_each_once_in_order(
        self, quotas: QuotaRepository, load: Load, limit: int, scope: Optional[OwnerScope]
    ) -> None:
        # given
        domains = [DomainName(name) for name in ("b", "_", "Z", "é", "USER")]
        await load(more_domains(*domains))
        owners = [*OWNER_IDS.items(), *((OwnerScope.DOMAIN, name) for name in domains)]
        await quotas.set_quotas([QuotaSpec(scope=each, owner_id=owner_id) for each, owner_id in owners])
        found: list[tuple[OwnerScope, str]] = []
        cursor = None
        # when
        while True:
            page = await quotas.search_quotas(scope, limit, cursor)
            assert 1 <= len(page.items) <= limit
            found += [(quota.scope, quota.owner_id) for quota in page.items]
            assert len(set(found)) == len(found)
            cursor = page.next_cursor
            if cursor is None:
                break
        # then
        assert found == sorted(owner for owner in owners if scope in (None, owner[0]))

    async def test_a_cursor_of_another_scope(self, quotas: QuotaRepository) -> None:
        # given
        await quotas.set_quotas([QuotaSpec(scope=each, owner_id=OWNER_IDS[each]) for each in SCOPES])
        cursor = (await quotas.search_quotas(limit=1)).next_cursor
        # when, then
        with pytest.raises(InvalidCursor):
            await quotas.search_quotas(OwnerScope.USER, 1, cursor)


class TestUsage(SmallCluster):
    @pytest.mark.parametrize("scope", SCOPES)
    async def test_what_runs_counts_and_what_waits_does_not(
        self, quotas: QuotaRepository, scope: OwnerScope
    ) -> None:
        # when
        usage = await quotas.get_usage(scope, OWNER_IDS[scope])
        # then
        assert usage == QuotaUsage(scope, OWNER_IDS[scope], usage.observed_at, UNLIMITED, (5, 2), 1)
        assert usage.observed_at.utcoffset() is not None

    async def test_an_owner_of_nothing(self, quotas: QuotaRepository, load: Load) -> None:
        # given
        await load(more_domains(DomainName("idle")))
        # when
        usage = await quotas.get_usage(OwnerScope.DOMAIN, "idle")
        # then
        assert (usage.limits, usage.occupied, usage.session_count) == (UNLIMITED, (0, 0), 0)

    async def test_nobody(self, quotas: QuotaRepository) -> None:
        for ask in (
            quotas.get_usage(OwnerScope.DOMAIN, "gone"),
            quotas.get_effective_limits(OwnerScope.DOMAIN, "gone"),
        ):
            with pytest.raises(OwnerNotFound, match="DOMAIN 'gone'"):
                await ask

    async def test_more_slots_than_are_summed_as_columns(
        self, quotas: QuotaRepository, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute(
            "INSERT INTO slot_types (name, slot_index) SELECT 'slot-' || i, i FROM generate_series(2, 11) AS i;"
            "UPDATE kernels SET occupied_slots = '{1,2,3,4,5,6,7,8,9,0,11}' WHERE status = 'SCHEDULED'"
        )
        # when
        usage = await quotas.get_usage(OwnerScope.USER, str(USER))
        # then
        assert usage.occupied == (2, 4, 6, 8, 10, 12, 14, 16, 18, 0, 22, 0)
        assert len(usage.limits.slot_limits) == 12
        assert (await scheduler.get_scheduling_data(GROUP)).users[0].occupied == usage.occupied


class TestAsTheSchedulerSeesIt(SmallCluster):
    """What the repository says of an owner is what the next tick goes by, whatever is set."""

    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    async def test_limits_and_usage(
        self,
        quotas: QuotaRepository,
        policies: ResourcePolicyRepository,
        scheduler: SchedulerRepository,
        data: st.DataObject,
    ) -> None:
        # given
        policy = ResourcePolicySpec(
            name=SMALL,
            slot_limits=data.draw(limits),
            max_concurrent_sessions=data.draw(counts),
            max_kernels_per_session=data.draw(counts),
        )
        specs = [
            QuotaSpec(
                scope=scope,
                owner_id=OWNER_IDS[scope],
                resource_policy=data.draw(st.sampled_from((None, SMALL))),
                slot_limits=data.draw(limits),
                max_concurrent_sessions=data.draw(counts),
            )
            for scope in data.draw(st.permutations(SCOPES))
        ]
        # when
        await policies.set_resource_policies([policy])
        await quotas.set_quotas(specs)
        # then
        tick = await scheduler.get_scheduling_data(GROUP)
        for scope, owner in only_owners(tick).items():
            usage = await quotas.get_usage(scope, OWNER_IDS[scope])
            assert usage.limits == await quotas.get_effective_limits(scope, OWNER_IDS[scope])
            assert usage.limits == EffectiveLimits(
                owner.resource_policy,
                owner.slot_limits,
                owner.max_concurrent_sessions,
                owner.max_kernels_per_session,
            )
            assert (usage.occupied, usage.session_count) == (owner.occupied, owner.session_count)
