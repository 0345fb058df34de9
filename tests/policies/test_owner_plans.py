"""Whatever the number of owners, policies and quotas: no table is read from end to end."""

from collections.abc import AsyncIterator, Awaitable
from uuid import UUID, uuid5

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.locks import LOCK_QUOTAS
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    UserId,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.past_and_present import finish_sessions
from tests.support.plans import sequential_scans
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, PROJECT, USER, agent, cluster, session

BEGIN_AND_COMMIT = 2
_NAMESPACE = UUID(int=7)
MANY = 5_000
FINISHED = 3_000
GROWING = {
    *("domains", "users", "projects", "keypairs", "resource_policies", "quotas"),
    *("sessions", "kernels", "session_dependencies", "session_history"),
}
SMALL = ResourcePolicyName("small")

Sent = list[tuple[str, tuple[object, ...]]]


def made_up(prefix: str, count: int) -> OwnersSpec:
    """So many of everything, each with a quota under a policy of its own."""
    numbers = range(count)
    domains = tuple(DomainName(f"{prefix}-{number:03}") for number in numbers)
    users = tuple(
        UserSpec(user_id=UserId(uuid5(_NAMESPACE, name)), name=name, domain_name=name) for name in domains
    )
    policies = tuple(ResourcePolicySpec(name=ResourcePolicyName(name)) for name in domains)
    return OwnersSpec(
        domains=domains,
        projects=tuple(
            ProjectSpec(project_id=ProjectId(user.user_id), name=user.name, domain_name=user.domain_name)
            for user in users
        ),
        users=users,
        keypairs=tuple(KeypairSpec(access_key=AccessKey(user.name), user_id=user.user_id) for user in users),
        resource_policies=policies,
        quotas=tuple(
            QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=name, resource_policy=ResourcePolicyName(name))
            for name in domains
        ),
    )


class TestPlans:
    """With many owners, and with a history, everything is found by an index."""

    @pytest.fixture(autouse=True)
    async def many(self, load: Load, owner_connection: DriverConnection) -> None:
        await load(cluster([agent("a1")], [session(1, 1)]))
        await owner_connection.execute(
            f"""
            INSERT INTO domains (name) SELECT 'd-' || i FROM generate_series(1, {MANY}) AS i;
            INSERT INTO users (id, name, domain_name)
                SELECT gen_random_uuid(), 'u-' || i, 'd-' || (i % 4 + 1) FROM generate_series(1, {MANY}) AS i;
            INSERT INTO projects (id, name, domain_name)
                SELECT id, name, domain_name FROM users WHERE name <> 'ada';
            INSERT INTO keypairs (access_key, user_id) SELECT 'k-' || name, id FROM users;
            INSERT INTO resource_policies (name) SELECT 'p-' || i FROM generate_series(1, {MANY}) AS i;
            INSERT INTO quotas (scope, owner_id, resource_policy)
                SELECT 'DOMAIN', name, replace(name, 'd-', 'p-') FROM domains WHERE name <> 'lab'
                UNION ALL SELECT 'USER', id::text, NULL FROM users;
            """
        )
        await finish_sessions(owner_connection, FINISHED)
        await owner_connection.execute("ANALYZE")

    @pytest.fixture
    async def sent(self, engine: ExtendedAsyncSAEngine) -> AsyncIterator[Sent]:
        """What is sent, through the driver itself or through SQLAlchemy."""
        queries: Sent = []

        def note(_c: object, _r: object, query: str, args: tuple[object, ...], *_: object) -> None:
            queries.append((query, args))

        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
        sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
        with driver.query_logger(lambda record: queries.append((record.query, tuple(record.args or ())))):
            yield queries
        sa.event.remove(engine.sync_engine, "before_cursor_execute", note)

    async def test_no_table_is_read_from_end_to_end(
        self,
        engine: ExtendedAsyncSAEngine,
        owners: OwnerRepository,
        policies: ResourcePolicyRepository,
        quotas: QuotaRepository,
        sent: Sent,
    ) -> None:
        # given every call, pages in the middle of their lists among them
        first, second = DomainName("d-1"), DomainName("d-2")
        user = (OwnerScope.USER, str(USER))
        policy = ResourcePolicySpec(name=ResourcePolicyName("p-1"))
        users = [each.user_id for each in (await owners.search_users(first, 100)).items]
        calls: list[Awaitable[object]] = [
            owners.search_domains(100, (await owners.search_domains(1000)).next_cursor),
            owners.search_users(first, 100, (await owners.search_users(first, 1000)).next_cursor),
            owners.search_projects(first, 100, (await owners.search_projects(first, 1000)).next_cursor),
            owners.list_keypairs(USER),
            owners.get_domain(DOMAIN),
            owners.get_project(PROJECT),
            owners.get_user(USER),
            owners.get_keypair(ACCESS_KEY),
            owners.set_users_active(users, False),
            owners.set_domains_active([first, second], False),
            owners.register_owners(made_up("new", 100)),
            policies.get_resource_policy(policy.name),
            policies.search_resource_policies(100, (await policies.search_resource_policies(1000)).next_cursor),
            policies.set_resource_policies([policy]),
            quotas.get_quota(OwnerScope.DOMAIN, first),
            quotas.search_quotas(None, 100, (await quotas.search_quotas(None, 1000)).next_cursor),
            quotas.search_quotas(
                OwnerScope.USER, 100, (await quotas.search_quotas(OwnerScope.USER, 1000)).next_cursor
            ),
            quotas.get_effective_limits(*user),
            quotas.get_usage(*user),
            quotas.set_quotas(
                [
                    QuotaSpec(scope=OwnerScope.USER, owner_id=str(each), resource_policy=policy.name)
                    for each in users
                ]
            ),
        ]
        sent[:] = [(LOCK_QUOTAS.text, ([ACCESS_KEY], [USER], [PROJECT], [DOMAIN], True))]
        for call in calls:
            await call
        asked = [(query, args) for query, args in sent if not query.startswith(("BEGIN", "COMMIT"))]
        # when
        scans = {query: await self.scanned(engine, query, args) for query, args in asked}
        # then
        assert {query: tables & GROWING for query, tables in scans.items() if tables & GROWING} == {}
        assert len(scans) > len(calls)
        # and a scan would be seen
        assert await self.scanned(engine, "SELECT FROM users WHERE is_active = $1", (False,)) == {"users"}

    async def scanned(self, engine: ExtendedAsyncSAEngine, query: str, args: tuple[object, ...]) -> set[str]:
        """The tables that a statement reads from end to end; EXPLAIN writes nothing."""
        async with engine.begin_session() as db_sess:
            driver: asyncpg.Connection[asyncpg.Record] = driver_connection(db_sess)
            (answer,) = await driver.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *args)
        return sequential_scans(answer["Plan"])
