"""Grants are given and taken back all or none, as often as one likes, and by many at once."""

import asyncio
import random
from uuid import UUID, uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.scaling_group import ScalingGroupGrant, ScalingGroupSpec
from scheduler_repo.errors import OperationMismatch, OwnerNotFound, ScalingGroupNotFound
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OperationId,
    OwnerScope,
    ProjectId,
    ScalingGroupName,
    UserId,
)
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.small_cluster import agent
from tests.support.waiting import until_blocked

GPU, CPU, NOWHERE = (ScalingGroupName(name) for name in ("gpu", "cpu", "nowhere"))
ADA, VISION = UserId(UUID(int=1)), ProjectId(UUID(int=2))
KEY, LAB = AccessKey("key"), DomainName("lab")

TO_KEY = ScalingGroupGrant(GPU, OwnerScope.ACCESS_KEY, KEY)
TO_LAB = ScalingGroupGrant(GPU, OwnerScope.DOMAIN, LAB)
TO_VISION = ScalingGroupGrant(GPU, OwnerScope.PROJECT, str(VISION))
TO_ADA = ScalingGroupGrant(GPU, OwnerScope.USER, str(ADA))
OTHER = ScalingGroupGrant(CPU, OwnerScope.USER, str(ADA))
# In the order in which they are listed.
GRANTS = (TO_KEY, TO_LAB, TO_VISION, TO_ADA)


class TestGrants:
    @pytest.fixture(autouse=True)
    async def owners(self, engine: ExtendedAsyncSAEngine, groups: ScalingGroupRepository) -> None:
        await groups.create_scaling_groups(
            [ScalingGroupSpec(name=GPU, is_public=False), ScalingGroupSpec(name=CPU)]
        )
        await OwnerRepository(OwnerDBSource(engine)).register_owners(
            OwnersSpec(
                domains=(LAB,),
                users=(UserSpec(user_id=ADA, name="ada", domain_name=LAB),),
                projects=(ProjectSpec(project_id=VISION, name="vision", domain_name=LAB),),
                keypairs=(KeypairSpec(access_key=KEY, user_id=ADA),),
            )
        )

    async def test_are_listed_by_scope_and_owner(self, groups: ScalingGroupRepository) -> None:
        # given
        assert await groups.list_scaling_group_grants(GPU) == ()
        # when
        given = await groups.grant_scaling_groups([TO_ADA, TO_VISION, OTHER, TO_LAB, TO_KEY])
        # then
        assert given == (TO_ADA, TO_VISION, OTHER, TO_LAB, TO_KEY)
        assert await groups.list_scaling_group_grants(GPU) == GRANTS
        assert await groups.list_scaling_group_grants(CPU) == (OTHER,)

    async def test_given_twice_is_given_once(self, groups: ScalingGroupRepository) -> None:
        # given
        await groups.grant_scaling_groups([TO_ADA])
        # when
        given = await groups.grant_scaling_groups([TO_LAB, TO_ADA, TO_LAB])
        # then
        assert given == (TO_LAB,)
        assert await groups.list_scaling_group_grants(GPU) == (TO_LAB, TO_ADA)

    async def test_taken_back_twice_is_taken_back_once(self, groups: ScalingGroupRepository) -> None:
        # given
        await groups.grant_scaling_groups([*GRANTS, OTHER])
        # when
        taken = [await groups.revoke_scaling_groups([TO_LAB, TO_ADA]) for _ in range(2)]
        # then
        assert taken == [(TO_LAB, TO_ADA), ()]
        assert await groups.list_scaling_group_grants(GPU) == (TO_KEY, TO_VISION)
        assert await groups.list_scaling_group_grants(CPU) == (OTHER,)

    @pytest.mark.parametrize(
        ("grant", "error"),
        [
            (ScalingGroupGrant(NOWHERE, OwnerScope.DOMAIN, LAB), ScalingGroupNotFound),
            (ScalingGroupGrant(GPU, OwnerScope.DOMAIN, "Lab"), OwnerNotFound),
            (ScalingGroupGrant(GPU, OwnerScope.ACCESS_KEY, LAB), OwnerNotFound),
            (ScalingGroupGrant(GPU, OwnerScope.USER, str(VISION)), OwnerNotFound),
            (ScalingGroupGrant(GPU, OwnerScope.PROJECT, str(ADA)), OwnerNotFound),
        ],
    )
    async def test_all_or_none_is_granted(
        self, groups: ScalingGroupRepository, grant: ScalingGroupGrant, error: type[Exception]
    ) -> None:
        # when
        with pytest.raises(
            error, match=grant.scaling_group if error is ScalingGroupNotFound else grant.owner_id
        ):
            await groups.grant_scaling_groups([TO_KEY, grant, TO_ADA])
        # then
        assert await groups.list_scaling_group_grants(GPU) == ()

    async def test_all_or_none_is_taken_back(self, groups: ScalingGroupRepository) -> None:
        # given
        await groups.grant_scaling_groups(GRANTS)
        # when
        with pytest.raises(ScalingGroupNotFound, match="'nowhere'"):
            await groups.revoke_scaling_groups([TO_KEY, ScalingGroupGrant(NOWHERE, OwnerScope.DOMAIN, LAB)])
        # then
        assert await groups.list_scaling_group_grants(GPU) == GRANTS
        # and an owner that is not there, has nothing to be taken back
        gone = ScalingGroupGrant(GPU, OwnerScope.USER, str(uuid4()))
        assert await groups.revoke_scaling_groups([gone, TO_KEY]) == (TO_KEY,)

    async def test_unknown_group_has_no_list(self, groups: ScalingGroupRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="'nowhere'"):
            await groups.list_scaling_group_grants(NOWHERE)

    async def test_asked_again_it_answers_the_same_and_writes_nothing(
        self, groups: ScalingGroupRepository
    ) -> None:
        # given
        granting, revoking = OperationId(uuid4()), OperationId(uuid4())
        assert await groups.grant_scaling_groups([TO_ADA], operation_id=granting) == (TO_ADA,)
        assert await groups.revoke_scaling_groups([TO_ADA], operation_id=revoking) == (TO_ADA,)
        # when
        again = await groups.grant_scaling_groups([TO_ADA], operation_id=granting)
        # then
        assert again == (TO_ADA,)
        assert await groups.list_scaling_group_grants(GPU) == ()
        await groups.grant_scaling_groups([TO_ADA])
        assert await groups.revoke_scaling_groups([TO_ADA], operation_id=revoking) == (TO_ADA,)
        assert await groups.list_scaling_group_grants(GPU) == (TO_ADA,)
        with pytest.raises(OperationMismatch):
            await groups.revoke_scaling_groups([TO_LAB], operation_id=revoking)

    @pytest.mark.parametrize("change", ["grant", "revoke"])
    async def test_two_who_change_one_group_wait_for_one_another(
        self,
        groups: ScalingGroupRepository,
        agents: AgentRepository,
        owner_connection: DriverConnection,
        migrated_database: Database,
        change: str,
    ) -> None:
        # given one who is changing the group
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM scaling_groups WHERE name = $1 FOR NO KEY UPDATE", GPU)
            # when another does
            call = groups.grant_scaling_groups if change == "grant" else groups.revoke_scaling_groups
            changing = asyncio.create_task(call([OTHER, TO_ADA]))
            await until_blocked(owner_connection, 1)
            # then it waits, and who uses the group does not
            await agents.register_agents([msgspec.structs.replace(agent("a1", scaling_group=GPU), capacity={})])
            assert not changing.done()
            await transaction.rollback()
        assert await changing == ((OTHER, TO_ADA) if change == "grant" else ())

    async def test_many_at_once_in_any_order_end_as_one_after_the_other(
        self, groups: ScalingGroupRepository
    ) -> None:
        # given
        chance = random.Random(5)  # noqa: S311 - the same race each time
        everything = [*GRANTS, OTHER]
        # when each gives and takes back all, in an order of its own
        calls = [
            call(chance.sample(everything, len(everything)))
            for _ in range(15)
            for call in (groups.grant_scaling_groups, groups.revoke_scaling_groups)
        ]
        answers = await asyncio.gather(*calls)
        # then each grant was given once more, or as often, as it was taken back
        granted = sum(map(len, answers[::2]))
        revoked = sum(map(len, answers[1::2]))
        left = [*await groups.list_scaling_group_grants(GPU), *await groups.list_scaling_group_grants(CPU)]
        assert granted - revoked == len(left)
        assert len(left) in (0, len(everything))
