"""Policies are read as they were set, replaced whole, and listed page by page."""

import pytest

from scheduler_repo.entities.paging import Cursor
from scheduler_repo.entities.resource_policy import ResourcePolicy, ResourcePolicySpec
from scheduler_repo.errors import (
    InvalidCursor,
    OperationMismatch,
    ResourcePolicyNotFound,
    UnknownSlotType,
)
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.types import OperationId, ResourcePolicyName, SlotName
from scheduler_repo.validation import MAX_QUANTITY
from tests.support.fixtures import Load
from tests.support.small_cluster import CPU, MEM, PROJECT, agent, cluster

SMALL, LARGE = ResourcePolicyName("small"), ResourcePolicyName("large")


class TestResourcePolicyRepository:
    @pytest.fixture(autouse=True)
    async def small_cluster(self, load: Load) -> None:
        await load(cluster([agent("a1")], []))

    async def test_it_is_read_as_it_was_set(self, policies: ResourcePolicyRepository) -> None:
        # when
        written = await policies.set_resource_policies(
            [
                ResourcePolicySpec(
                    name=SMALL,
                    slot_limits={CPU: 0, MEM: MAX_QUANTITY},
                    max_concurrent_sessions=0,
                    max_kernels_per_session=2**31 - 1,
                ),
                ResourcePolicySpec(name=LARGE, slot_limits={MEM: 5, CPU: None}),
            ]
        )
        # then
        assert written is not None
        assert await policies.get_resource_policy(SMALL) == ResourcePolicy(
            SMALL, (0, MAX_QUANTITY), 0, 2**31 - 1
        )
        assert await policies.find_resource_policy(LARGE) == ResourcePolicy(LARGE, (None, 5), None, None)

    async def test_it_is_replaced_whole(self, policies: ResourcePolicyRepository) -> None:
        # given
        full = ResourcePolicySpec(
            name=SMALL, slot_limits={CPU: 1, MEM: 2}, max_concurrent_sessions=3, max_kernels_per_session=4
        )
        await policies.set_resource_policies([full])
        # when
        await policies.set_resource_policies([ResourcePolicySpec(name=SMALL, slot_limits={CPU: 7})])
        # then
        assert await policies.get_resource_policy(SMALL) == ResourcePolicy(SMALL, (7, None), None, None)

    async def test_one_that_is_not_there(self, policies: ResourcePolicyRepository) -> None:
        assert await policies.find_resource_policy(SMALL) is None
        with pytest.raises(ResourcePolicyNotFound, match="there is no resource policy 'small'"):
            await policies.get_resource_policy(SMALL)

    async def test_all_or_none(self, policies: ResourcePolicyRepository) -> None:
        # given
        unknown = ResourcePolicySpec(name=LARGE, slot_limits={SlotName("tpu"): None})
        # when
        with pytest.raises(UnknownSlotType, match="resource policy large: unknown slot tpu"):
            await policies.set_resource_policies([ResourcePolicySpec(name=SMALL), unknown])
        # then
        assert (await policies.search_resource_policies()).items == ()

    async def test_no_policies(self, policies: ResourcePolicyRepository) -> None:
        assert await policies.set_resource_policies([]) is None

    async def test_an_operation_is_done_once(self, policies: ResourcePolicyRepository) -> None:
        # given
        operation = OperationId(PROJECT)
        low, high = (ResourcePolicySpec(name=SMALL, max_concurrent_sessions=limit) for limit in (1, 9))
        first = await policies.set_resource_policies([low], operation_id=operation)
        await policies.set_resource_policies([high])
        # when
        again = await policies.set_resource_policies([low], operation_id=operation)
        # then
        assert again == first
        assert (await policies.get_resource_policy(SMALL)).max_concurrent_sessions == 9
        with pytest.raises(OperationMismatch):
            await policies.set_resource_policies([high], operation_id=operation)

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 1000])
    async def test_pages_hold_each_once_in_order(self, policies: ResourcePolicyRepository, limit: int) -> None:
        # given
        names = [ResourcePolicyName(name) for name in ("b", "_", "Z", "é", "a b", "ä")]
        await policies.set_resource_policies([ResourcePolicySpec(name=name) for name in names])
        found: list[ResourcePolicyName] = []
        cursor = None
        # when
        while True:
            page = await policies.search_resource_policies(limit, cursor)
            assert 1 <= len(page.items) <= limit
            found += [policy.name for policy in page.items]
            assert len(set(found)) == len(found)
            cursor = page.next_cursor
            if cursor is None:
                break
        # then
        assert found == sorted(names)

    async def test_a_changed_cursor(self, policies: ResourcePolicyRepository) -> None:
        with pytest.raises(InvalidCursor):
            await policies.search_resource_policies(cursor=Cursor("b"))
