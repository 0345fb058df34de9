"""Which groups an access key may use is what a walk over all grants says."""

from typing import Final, Optional
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.scaling_group import ScalingGroupChanges, ScalingGroupGrant, ScalingGroupSpec
from scheduler_repo.errors import OwnerNotFound
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import AccessKey, DomainName, OwnerScope, ProjectId, ScalingGroupName, UserId
from tests.support.databases import DriverConnection

LAB, OFFICE = DomainName("lab"), DomainName("office")
ADA, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))
# Ada has two keys; a project of each domain.
HERS, HERS_TOO, HIS = (AccessKey(key) for key in ("ada-1", "ada-2", "bob"))
VISION, SALES = ProjectId(UUID(int=3)), ProjectId(UUID(int=4))
USER_OF: Final = {HERS: ADA, HERS_TOO: ADA, HIS: BOB}
DOMAIN_OF: Final = {ADA: LAB, BOB: OFFICE}
DOMAIN_OF_PROJECT: Final = {VISION: LAB, SALES: OFFICE}

OWNERS: Final = (
    *((OwnerScope.ACCESS_KEY, str(key)) for key in USER_OF),
    *((OwnerScope.USER, str(user)) for user in DOMAIN_OF),
    *((OwnerScope.PROJECT, str(project)) for project in DOMAIN_OF_PROJECT),
    (OwnerScope.DOMAIN, LAB),
    (OwnerScope.DOMAIN, OFFICE),
    # An access key and a domain may have the same name as another owner's id, and are not that owner.
    (OwnerScope.ACCESS_KEY, str(ADA)),
    (OwnerScope.ACCESS_KEY, str(LAB)),
    (OwnerScope.DOMAIN, str(VISION)),
)
TABLES: Final = {
    OwnerScope.ACCESS_KEY: ("keypairs", "access_key"),
    OwnerScope.USER: ("users", "id::text"),
    OwnerScope.PROJECT: ("projects", "id::text"),
    OwnerScope.DOMAIN: ("domains", "name"),
}
GROUPS: Final = tuple(ScalingGroupName(name) for name in ("Z", "a", "b", "c"))


class World(msgspec.Struct, frozen=True):
    """What groups there are, what is granted, and who is not active."""

    public: frozenset[ScalingGroupName]
    grants: frozenset[tuple[ScalingGroupName, OwnerScope, str]]
    inactive: frozenset[tuple[OwnerScope, str]]

    def usable(self, access_key: AccessKey, project: Optional[ProjectId]) -> list[ScalingGroupName]:
        """The answer, by a walk over everything."""
        user = USER_OF[access_key]
        owners = {
            (OwnerScope.ACCESS_KEY, str(access_key)),
            (OwnerScope.USER, str(user)),
            (OwnerScope.DOMAIN, str(DOMAIN_OF[user])),
        }
        concerned = set(owners)
        if project is not None:
            owners.add((OwnerScope.PROJECT, str(project)))
            concerned |= {*owners, (OwnerScope.DOMAIN, str(DOMAIN_OF_PROJECT[project]))}
        if concerned & self.inactive:
            return []
        return [
            group
            for group in sorted(GROUPS)
            if group in self.public or any((group, *owner) in self.grants for owner in owners)
        ]


worlds = st.builds(
    World,
    st.frozensets(st.sampled_from(GROUPS), max_size=2),
    st.frozensets(
        st.tuples(st.sampled_from(GROUPS), st.sampled_from(OWNERS)).map(lambda pair: (pair[0], *pair[1]))
    ),
    st.frozensets(st.sampled_from(OWNERS), max_size=1),
)


@pytest.fixture(autouse=True)
async def owners(engine: ExtendedAsyncSAEngine) -> None:
    await OwnerRepository(OwnerDBSource(engine)).register_owners(
        OwnersSpec(
            domains=(LAB, OFFICE, DomainName(str(VISION))),
            users=tuple(
                UserSpec(user_id=user, name="one", domain_name=domain) for user, domain in DOMAIN_OF.items()
            ),
            projects=tuple(
                ProjectSpec(project_id=project, name="one", domain_name=domain)
                for project, domain in DOMAIN_OF_PROJECT.items()
            ),
            keypairs=(
                *(KeypairSpec(access_key=key, user_id=user) for key, user in USER_OF.items()),
                *(KeypairSpec(access_key=AccessKey(str(name)), user_id=BOB) for name in (ADA, LAB)),
            ),
        )
    )


class TestAgainstTheOracle:
    @pytest.fixture(autouse=True)
    async def all_groups(self, groups: ScalingGroupRepository) -> None:
        await groups.create_scaling_groups([ScalingGroupSpec(name=name) for name in GROUPS])

    @settings(
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(world=worlds)
    async def test_every_key_with_every_project(
        self, groups: ScalingGroupRepository, owner_connection: DriverConnection, world: World
    ) -> None:
        # given
        await owner_connection.execute("TRUNCATE scaling_group_grants")
        await owner_connection.execute(
            "UPDATE scaling_groups SET is_public = name = ANY ($1)", sorted(world.public)
        )
        await groups.grant_scaling_groups([ScalingGroupGrant(*grant) for grant in sorted(world.grants)])
        for scope, (table, column) in TABLES.items():
            named = [owner_id for inactive, owner_id in world.inactive if inactive is scope]
            await owner_connection.execute(f"UPDATE {table} SET is_active = NOT {column} = ANY ($1)", named)
        for access_key in USER_OF:
            for project in (None, *DOMAIN_OF_PROJECT):
                # when
                usable = await groups.list_usable_scaling_groups(access_key, project)
                # then
                expected = world.usable(access_key, project)
                assert [info.name for info in usable] == expected
                event(f"usable: {min(len(expected), 2)}")


class TestUsableGroups:
    @pytest.fixture(autouse=True)
    async def two_groups(self, groups: ScalingGroupRepository) -> None:
        await groups.create_scaling_groups(
            [ScalingGroupSpec(name=GROUPS[0]), ScalingGroupSpec(name=GROUPS[1], is_public=False)]
        )

    async def test_group_that_is_not_active_takes_sessions_that_wait(
        self, groups: ScalingGroupRepository
    ) -> None:
        # given
        await groups.update_scaling_group(GROUPS[0], ScalingGroupChanges(is_active=False))
        # when
        usable = await groups.list_usable_scaling_groups(HERS)
        # then
        assert usable == (await groups.get_scaling_group(GROUPS[0]),)
        assert not usable[0].is_active

    async def test_group_that_is_closed_to_the_public_is_usable_by_grant_alone(
        self, groups: ScalingGroupRepository
    ) -> None:
        # given
        grant = ScalingGroupGrant(GROUPS[0], OwnerScope.USER, str(ADA))
        await groups.grant_scaling_groups([grant])
        # when
        await groups.update_scaling_group(GROUPS[0], ScalingGroupChanges(is_public=False))
        # then
        assert len(await groups.list_usable_scaling_groups(HERS)) == 1
        assert await groups.list_usable_scaling_groups(HIS) == ()
        await groups.revoke_scaling_groups([grant])
        assert await groups.list_usable_scaling_groups(HERS) == ()

    async def test_unknown_owners_are_named(self, groups: ScalingGroupRepository) -> None:
        nobody = ProjectId(uuid4())
        with pytest.raises(OwnerNotFound, match="no access key 'ADA-1'"):
            await groups.list_usable_scaling_groups(AccessKey("ADA-1"))
        with pytest.raises(OwnerNotFound, match=f"no project {nobody}"):
            await groups.list_usable_scaling_groups(HERS, nobody)
