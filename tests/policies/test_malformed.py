"""What cannot be is refused before any query: the server asked here does not exist."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import DatabaseError, InvalidFilter, InvalidInput, InvalidLimit, InvalidQuantity
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.types import OwnerScope
from tests.support.refusals import Ask, refused

USER = UUID(int=1)
QUOTA = QuotaSpec(scope=OwnerScope.USER, owner_id=str(USER))
POLICY: Any = ResourcePolicySpec(name="small")  # type: ignore[arg-type]

NO_TEXTS = ("", None, 5, b"lab", "a\x00b", "\ud800", USER, 10**5_000)
NO_UUIDS = (None, 5, str(USER), "", 10**5_000)
NO_LISTS = (None, 5, "text", {"a": 1}, iter(()))
NO_AMOUNTS = (-1, 1.0, True, "1", 2**63, float("nan"), 10**5_000, -(10**5_000))
NO_COUNTS = (-1, 1.0, True, "1", 2**31)
NO_MAPPINGS = (None, [("cpu", 1)], 5, "cpu")
NO_LIMITS = (0, -1, 1001, None, True, 1.0, "1", 10**5_000)
# An owner of a scope: no scope, or an id that the scope cannot have.
NO_OWNERS = (
    *((scope, "key") for scope in (None, "USER", "user", "TENANT", 1)),
    *((OwnerScope.ACCESS_KEY, owner_id) for owner_id in NO_TEXTS),
    *((OwnerScope.DOMAIN, owner_id) for owner_id in NO_TEXTS),
    *(
        (scope, owner_id)
        for scope in (OwnerScope.USER, OwnerScope.PROJECT)
        for owner_id in (
            *NO_TEXTS,
            "ada",
            "",
            USER.hex,
            str(UUID(int=2**128 - 1)).upper(),
            f"{USER}\n",
            f"{{{USER}}}",
        )
    ),
)


class Unreachable:
    async def test_the_server_is_not_there(self, unreachable: ExtendedAsyncSAEngine) -> None:
        with pytest.raises(DatabaseError):
            async with unreachable.begin_readonly_session():
                pass


class TestQuotaRepository(Unreachable):
    @pytest.fixture
    def repository(self, unreachable: ExtendedAsyncSAEngine) -> QuotaRepository:
        return QuotaRepository(QuotaDBSource(unreachable))

    async def test_owners(self, repository: QuotaRepository) -> None:
        await refused(lambda owner: repository.get_quota(*owner), NO_OWNERS)
        await refused(lambda owner: repository.find_quota(*owner), NO_OWNERS)
        await refused(lambda owner: repository.get_effective_limits(*owner), NO_OWNERS)
        await refused(lambda owner: repository.get_usage(*owner), NO_OWNERS)

    async def test_owners_of_quotas_to_set(self, repository: QuotaRepository) -> None:
        specs = tuple(
            [QUOTA, QuotaSpec(scope=scope, owner_id=owner_id)]  # type: ignore[arg-type]
            for scope, owner_id in NO_OWNERS
            if isinstance(scope, OwnerScope)
        )
        await refused(repository.set_quotas, specs)
        with pytest.raises(InvalidInput, match=r"QuotaSpec.scope is 'USER'"):
            QuotaSpec(scope="USER", owner_id=str(USER))  # type: ignore[arg-type]

    async def test_batches(self, repository: QuotaRepository) -> None:
        odd: tuple[object, ...] = (
            QUOTA,
            [QUOTA, None],
            [(OwnerScope.USER, str(USER))],
            [POLICY],
            [QUOTA, QUOTA],
        )
        await refused(repository.set_quotas, (*NO_LISTS, *odd))

    async def test_limits(self, repository: QuotaRepository) -> None:
        def changed(name: str, values: tuple[object, ...]) -> tuple[object, ...]:
            return tuple([msgspec.structs.replace(QUOTA, **{name: value})] for value in values)

        amounts = tuple({"cpu": None, "mem": amount} for amount in NO_AMOUNTS)
        await refused(repository.set_quotas, changed("slot_limits", amounts), InvalidQuantity)
        await refused(repository.set_quotas, changed("slot_limits", NO_MAPPINGS), InvalidQuantity)
        await refused(repository.set_quotas, changed("max_concurrent_sessions", NO_COUNTS))
        await refused(
            repository.set_quotas,
            changed("resource_policy", tuple(name for name in NO_TEXTS if name is not None)),
        )

    async def test_pages(self, repository: QuotaRepository) -> None:
        scopes = ("USER", "TENANT", 1, [OwnerScope.USER])
        await refused(repository.search_quotas, scopes, InvalidFilter)
        await refused(lambda limit: repository.search_quotas(limit=limit), NO_LIMITS, InvalidLimit)
        await refused(lambda cursor: repository.search_quotas(cursor=cursor), ("", "x", b"x", 5))


class TestResourcePolicyRepository(Unreachable):
    @pytest.fixture
    def repository(self, unreachable: ExtendedAsyncSAEngine) -> ResourcePolicyRepository:
        return ResourcePolicyRepository(ResourcePolicyDBSource(unreachable))

    async def test_names(self, repository: ResourcePolicyRepository) -> None:
        await refused(repository.get_resource_policy, NO_TEXTS)
        await refused(repository.find_resource_policy, NO_TEXTS)
        named = tuple([msgspec.structs.replace(POLICY, name=name)] for name in NO_TEXTS)
        await refused(repository.set_resource_policies, named)

    async def test_batches(self, repository: ResourcePolicyRepository) -> None:
        odd: tuple[object, ...] = (POLICY, [POLICY, None], [("small", {})], [QUOTA], [POLICY, POLICY])
        await refused(repository.set_resource_policies, (*NO_LISTS, *odd))

    async def test_limits(self, repository: ResourcePolicyRepository) -> None:
        def changed(name: str, values: tuple[object, ...]) -> tuple[object, ...]:
            return tuple([msgspec.structs.replace(POLICY, **{name: value})] for value in values)

        ask = repository.set_resource_policies
        amounts = tuple({"cpu": amount} for amount in NO_AMOUNTS)
        await refused(ask, changed("slot_limits", amounts), InvalidQuantity)
        await refused(ask, changed("slot_limits", NO_MAPPINGS), InvalidQuantity)
        await refused(ask, changed("max_concurrent_sessions", NO_COUNTS))
        await refused(ask, changed("max_kernels_per_session", NO_COUNTS))

    async def test_pages(self, repository: ResourcePolicyRepository) -> None:
        await refused(repository.search_resource_policies, NO_LIMITS, InvalidLimit)
        await refused(lambda cursor: repository.search_resource_policies(cursor=cursor), ("", "x", b"x", 5))


class TestOwnerRepository(Unreachable):
    @pytest.fixture
    def repository(self, unreachable: ExtendedAsyncSAEngine) -> OwnerRepository:
        return OwnerRepository(OwnerDBSource(unreachable))

    async def test_ids_and_names(self, repository: OwnerRepository) -> None:
        by_id: tuple[Ask, ...] = (
            *(repository.get_project, repository.find_project),
            *(repository.get_user, repository.find_user, repository.list_keypairs),
        )
        by_name: tuple[Ask, ...] = (
            *(repository.get_domain, repository.find_domain),
            *(repository.get_keypair, repository.find_keypair),
            *(repository.search_users, repository.search_projects),
        )
        for ask in by_id:
            await refused(ask, NO_UUIDS)
        for ask in by_name:
            await refused(ask, NO_TEXTS)

    async def test_pages(self, repository: OwnerRepository) -> None:
        await refused(repository.search_domains, NO_LIMITS, InvalidLimit)
        pages: tuple[Callable[..., Coroutine[None, None, object]], ...] = (
            repository.search_users,
            repository.search_projects,
        )
        for ask in pages:
            await refused(partial(ask, "lab"), NO_LIMITS, InvalidLimit)
            await refused(partial(ask, "lab", 1), ("", "x", b"x", 5))

    async def test_marks(self, repository: OwnerRepository) -> None:
        marks: tuple[tuple[Callable[..., Coroutine[None, None, None]], tuple[object, ...], object], ...] = (
            (repository.set_users_active, NO_UUIDS, USER),
            (repository.set_projects_active, NO_UUIDS, USER),
            (repository.set_domains_active, NO_TEXTS, "lab"),
            (repository.set_keypairs_active, NO_TEXTS, "key"),
        )
        for mark, odd, good in marks:
            await refused(partial(mark, is_active=True), (*NO_LISTS, *([good, one] for one in odd)))
            await refused(partial(mark, [good]), (None, 0, 1, "true"))

    async def test_owners_to_register(self, repository: OwnerRepository) -> None:
        project: Any = ProjectSpec(project_id=USER, name="vision", domain_name="lab")  # type: ignore[arg-type]
        user: Any = UserSpec(user_id=USER, name="ada", domain_name="lab")  # type: ignore[arg-type]
        keypair: Any = KeypairSpec(access_key="key", user_id=USER)  # type: ignore[arg-type]
        replace = msgspec.structs.replace
        odd: list[dict[str, object]] = [{"domains": (name,)} for name in NO_TEXTS]
        odd += [{"projects": (replace(project, project_id=each),)} for each in NO_UUIDS]
        odd += [{"users": (replace(user, user_id=each),)} for each in NO_UUIDS]
        odd += [{"keypairs": (replace(keypair, user_id=each),)} for each in NO_UUIDS]
        for each in NO_TEXTS:
            odd += [{"projects": (replace(project, **{name: each}),)} for name in ("name", "domain_name")]
            odd += [{"users": (replace(user, **{name: each}),)} for name in ("name", "domain_name")]
            odd += [{"keypairs": (replace(keypair, access_key=each),)}]
            odd += [{"resource_policies": (replace(POLICY, name=each),)}]
        odd += [
            {name: (("tuple", "for", "struct"),)}
            for name in ("projects", "users", "keypairs", "resource_policies", "quotas")
        ]
        odd += [{"quotas": (replace(QUOTA, owner_id="ada"),)}]
        odd += [{"quotas": (replace(QUOTA, slot_limits={"cpu": -1}),)}]
        odd += [{"resource_policies": (replace(POLICY, slot_limits={"cpu": 0.5}),)}]
        specs = tuple(OwnersSpec(**fields) for fields in odd)  # type: ignore[arg-type]
        await refused(repository.register_owners, (None, (), "lab", [user], *specs))
