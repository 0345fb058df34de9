"""Owners are registered as they are given or not at all, found by their ids, and listed page by page."""

from collections.abc import Awaitable, Callable
from typing import Optional, TypeVar
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import (
    DomainInfo,
    KeypairInfo,
    KeypairSpec,
    OwnersSpec,
    ProjectInfo,
    ProjectSpec,
    UserInfo,
    UserSpec,
)
from scheduler_repo.entities.paging import Cursor, Page
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import (
    AlreadyExists,
    InvalidCursor,
    OperationMismatch,
    OwnerAlreadyExists,
    OwnerNotFound,
    ResourcePolicyNotFound,
)
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OperationId,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    UserId,
)
from tests.support.databases import DriverConnection

NamedT = TypeVar("NamedT", DomainInfo, ProjectInfo, UserInfo)

LAB, HALL = DomainName("lab"), DomainName("hall")
ADA, BOB, NOBODY = UserId(UUID(int=1)), UserId(UUID(int=2)), UserId(UUID(int=99))
VISION, SPEECH = ProjectId(UUID(int=11)), ProjectId(UUID(int=12))
KEY, OTHER_KEY = AccessKey("key"), AccessKey("other-key")

SPEC = OwnersSpec(
    domains=(LAB, HALL),
    projects=(
        ProjectSpec(project_id=VISION, name="vision", domain_name=LAB),
        ProjectSpec(project_id=SPEECH, name="speech", domain_name=HALL),
    ),
    users=(
        UserSpec(user_id=ADA, name="ada", domain_name=LAB),
        UserSpec(user_id=BOB, name="bob", domain_name=HALL),
    ),
    keypairs=(KeypairSpec(access_key=KEY, user_id=ADA), KeypairSpec(access_key=OTHER_KEY, user_id=BOB)),
)


class Registered:
    """Owners that are there already."""

    @pytest.fixture(autouse=True)
    async def registered(self, owners: OwnerRepository) -> None:
        await owners.register_owners(SPEC)


class TestRegisterOwners(Registered):
    async def test_those_that_are_there_as_given_stay_fine(self, owners: OwnerRepository) -> None:
        # when
        await owners.register_owners(SPEC)
        # then
        assert (await owners.get_keypair(KEY)).user_id == ADA

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            (
                OwnersSpec(keypairs=(KeypairSpec(access_key=KEY, user_id=BOB),)),
                ("keypair key", str(ADA), str(BOB)),
            ),
            (
                OwnersSpec(users=(UserSpec(user_id=ADA, name="ida", domain_name=LAB),)),
                (f"user {ADA}", "'ada'", "'ida'"),
            ),
            (
                OwnersSpec(users=(UserSpec(user_id=ADA, name="ada", domain_name=HALL),)),
                (f"user {ADA}", "domain lab", "domain hall"),
            ),
            (
                OwnersSpec(projects=(ProjectSpec(project_id=VISION, name="sight", domain_name=LAB),)),
                (f"project {VISION}", "'vision'", "'sight'"),
            ),
            (
                OwnersSpec(projects=(ProjectSpec(project_id=VISION, name="vision", domain_name=HALL),)),
                (f"project {VISION}", "domain lab", "domain hall"),
            ),
        ],
        ids=["another user's key", "user's name", "user's domain", "project's name", "project's domain"],
    )
    async def test_one_that_is_there_otherwise_is_refused_with_all_others(
        self, owners: OwnerRepository, other: OwnersSpec, named: tuple[str, ...]
    ) -> None:
        # given
        new = UserSpec(user_id=NOBODY, name="new", domain_name=LAB)
        given = OwnersSpec(projects=other.projects, users=(new, *other.users), keypairs=other.keypairs)
        # when
        with pytest.raises(OwnerAlreadyExists) as refused:
            await owners.register_owners(given)
        # then
        assert all(word in str(refused.value) for word in named)
        assert isinstance(refused.value, AlreadyExists)
        assert await owners.find_user(NOBODY) is None
        assert (await owners.get_keypair(KEY)).user_id == ADA
        assert (await owners.get_user(ADA)).name == "ada"

    async def test_one_that_is_given_twice_in_two_ways_is_refused(self, owners: OwnerRepository) -> None:
        # given
        new = AccessKey("new")
        twice = tuple(KeypairSpec(access_key=new, user_id=user) for user in (ADA, BOB))
        # when
        with pytest.raises(OwnerAlreadyExists, match="keypair new"):
            await owners.register_owners(OwnersSpec(keypairs=twice))
        # then
        assert await owners.find_keypair(new) is None

    @pytest.mark.parametrize(
        ("scope", "owner_id"),
        [
            (OwnerScope.ACCESS_KEY, "no-key"),
            (OwnerScope.USER, str(NOBODY)),
            (OwnerScope.USER, str(VISION)),
            (OwnerScope.PROJECT, str(ADA)),
            (OwnerScope.DOMAIN, "no-domain"),
        ],
    )
    async def test_a_quota_of_nobody_is_refused(
        self, owners: OwnerRepository, owner_connection: DriverConnection, scope: OwnerScope, owner_id: str
    ) -> None:
        # given
        domain, quota = DomainName("new"), QuotaSpec(scope=scope, owner_id=owner_id)
        # when
        with pytest.raises(OwnerNotFound, match=f"{scope} '{owner_id}'"):
            await owners.register_owners(OwnersSpec(domains=(domain,), quotas=(quota,)))
        # then
        assert await owners.find_domain(domain) is None
        assert await owner_connection.fetchval("SELECT count(*) FROM quotas") == 0

    async def test_a_quota_of_an_owner_of_the_same_call(
        self, owners: OwnerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        policy = ResourcePolicySpec(name=ResourcePolicyName("small"))
        quota = QuotaSpec(scope=OwnerScope.DOMAIN, owner_id="new", resource_policy=policy.name)
        # when
        await owners.register_owners(
            OwnersSpec(domains=(DomainName("new"),), resource_policies=(policy,), quotas=(quota,))
        )
        # then
        assert await owner_connection.fetchval("SELECT resource_policy FROM quotas") == "small"

    async def test_a_quota_under_a_policy_that_is_not_there(self, owners: OwnerRepository) -> None:
        quota = QuotaSpec(
            scope=OwnerScope.DOMAIN, owner_id=LAB, resource_policy=ResourcePolicyName("no-policy")
        )
        with pytest.raises(ResourcePolicyNotFound, match="'no-policy'"):
            await owners.register_owners(OwnersSpec(quotas=(quota,)))


class TestOwnerRepository(Registered):
    async def test_each_is_found_with_what_is_above_it(self, owners: OwnerRepository) -> None:
        domain, project = await owners.get_domain(LAB), await owners.get_project(VISION)
        user, keypair = await owners.get_user(ADA), await owners.get_keypair(KEY)
        assert (domain.name, domain.is_active) == (LAB, True)
        assert (project.project_id, project.name, project.domain_name) == (VISION, "vision", LAB)
        assert (user.user_id, user.name, user.domain_name, user.is_active) == (ADA, "ada", LAB, True)
        assert keypair == KeypairInfo(KEY, ADA, LAB, True, keypair.created_at)
        assert keypair.created_at.utcoffset() is not None

    async def test_those_that_are_not_there(self, owners: OwnerRepository) -> None:
        gone = DomainName("gone")
        missing: list[tuple[Awaitable[Optional[object]], Awaitable[object], str]] = [
            (owners.find_domain(gone), owners.get_domain(gone), "domain gone"),
            (owners.find_project(ProjectId(ADA)), owners.get_project(ProjectId(ADA)), f"project {ADA}"),
            (owners.find_user(NOBODY), owners.get_user(NOBODY), f"user {NOBODY}"),
            (owners.find_keypair(AccessKey("x")), owners.get_keypair(AccessKey("x")), "keypair x"),
        ]
        for find, get, named in missing:
            assert await find is None
            with pytest.raises(OwnerNotFound, match=f"there is no {named}"):
                await get

    async def test_keypairs_of_a_user(self, owners: OwnerRepository) -> None:
        # given keys whose order differs between locales
        keys = [AccessKey(key) for key in ("a", "B", "_", "Z", "é")]
        await owners.register_owners(
            OwnersSpec(keypairs=tuple(KeypairSpec(access_key=key, user_id=BOB) for key in keys))
        )
        # when
        found = await owners.list_keypairs(BOB)
        # then
        assert [keypair.access_key for keypair in found] == sorted([*keys, OTHER_KEY])
        assert {(keypair.user_id, keypair.domain_name) for keypair in found} == {(BOB, HALL)}
        assert await owners.list_keypairs(NOBODY) == ()

    async def names_of(
        self, ask: Callable[[int, Optional[Cursor]], Awaitable[Page[NamedT]]], limit: int
    ) -> list[str]:
        """The names on all pages, in their order."""
        names: list[str] = []
        cursor: Optional[Cursor] = None
        while True:
            page = await ask(limit, cursor)
            assert len(page.items) <= limit
            names += [item.name for item in page.items]
            assert len(set(names)) == len(names)
            cursor = page.next_cursor
            if cursor is None:
                return names
            assert len(page.items) == limit

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 1000])
    async def test_pages_hold_each_once_in_order(self, owners: OwnerRepository, limit: int) -> None:
        # given
        names = ["a", "B", "_", "Z", "é", "zz"]
        await owners.register_owners(
            OwnersSpec(
                domains=tuple(map(DomainName, names)),
                projects=tuple(
                    ProjectSpec(project_id=ProjectId(UUID(int=100 + i)), name=name, domain_name=LAB)
                    for i, name in enumerate(names)
                ),
                users=tuple(
                    UserSpec(user_id=UserId(UUID(int=100 - i)), name=name, domain_name=LAB)
                    for i, name in enumerate(names)
                ),
            )
        )
        # when, then
        assert await self.names_of(owners.search_domains, limit) == sorted([*names, LAB, HALL])
        projects = await self.names_of(lambda most, after: owners.search_projects(LAB, most, after), limit)
        assert projects == sorted([*names, "vision"])
        users = await self.names_of(lambda most, after: owners.search_users(LAB, most, after), limit)
        assert users == sorted([*names, "ada"])

    async def test_a_cursor_of_another_domain_or_list(self, owners: OwnerRepository) -> None:
        # given
        more = UserSpec(user_id=NOBODY, name="zoe", domain_name=LAB)
        await owners.register_owners(OwnersSpec(users=(more,)))
        cursor = (await owners.search_users(LAB, 1)).next_cursor
        assert cursor is not None
        # when, then
        for ask in (
            owners.search_users(HALL, 1, cursor),
            owners.search_projects(LAB, 1, cursor),
            owners.search_domains(1, cursor),
            owners.search_users(LAB, 1, Cursor(cursor[:-1])),
        ):
            with pytest.raises(InvalidCursor):
                await ask


class TestActive(Registered):
    async def test_each_kind_is_marked_and_marked_again(self, owners: OwnerRepository) -> None:
        for is_active in (False, False, True):
            # when
            await owners.set_domains_active([LAB], is_active)
            await owners.set_projects_active((VISION,), is_active)
            await owners.set_users_active([ADA, ADA], is_active)
            await owners.set_keypairs_active([KEY], is_active)
            # then
            marked = (
                await owners.get_domain(LAB),
                await owners.get_project(VISION),
                await owners.get_user(ADA),
                await owners.get_keypair(KEY),
            )
            others = (
                await owners.get_domain(HALL),
                await owners.get_project(SPEECH),
                await owners.get_user(BOB),
                await owners.get_keypair(OTHER_KEY),
            )
            assert {each.is_active for each in marked} == {is_active}
            assert {each.is_active for each in others} == {True}

    async def test_all_or_none(self, owners: OwnerRepository) -> None:
        with pytest.raises(OwnerNotFound, match=f"there is no user {NOBODY}"):
            await owners.set_users_active([ADA, NOBODY, BOB], False)
        assert (await owners.get_user(ADA)).is_active

    async def test_nobody_is_nothing(self, owners: OwnerRepository) -> None:
        await owners.set_users_active([], False)

    async def test_an_operation_is_done_once(self, owners: OwnerRepository) -> None:
        # given
        operation = OperationId(UUID(int=5))
        await owners.set_users_active([ADA], False, operation_id=operation)
        await owners.set_users_active([ADA], True)
        # when
        await owners.set_users_active([ADA], False, operation_id=operation)
        # then
        assert (await owners.get_user(ADA)).is_active
        with pytest.raises(OperationMismatch):
            await owners.set_projects_active([ProjectId(ADA)], False, operation_id=operation)


class TestLoadCluster(Registered):
    async def test_a_key_of_another_user_is_refused(
        self, owners: OwnerRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        given = OwnersSpec(keypairs=(KeypairSpec(access_key=KEY, user_id=BOB),))
        spec = ClusterSpec(slot_types=(), scaling_groups=(), agents=(), owners=given)
        # when, then
        with pytest.raises(OwnerAlreadyExists, match="keypair key"):
            await ClusterRepository(ClusterDBSource(engine)).load_cluster(spec)

    async def test_a_quota_of_nobody_is_refused(self, engine: ExtendedAsyncSAEngine) -> None:
        # given
        given = OwnersSpec(quotas=(QuotaSpec(scope=OwnerScope.USER, owner_id=str(NOBODY)),))
        spec = ClusterSpec(slot_types=(), scaling_groups=(), agents=(), owners=given)
        # when, then
        with pytest.raises(OwnerNotFound, match=f"USER '{NOBODY}'"):
            await ClusterRepository(ClusterDBSource(engine)).load_cluster(spec)
