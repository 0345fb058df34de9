"""The front door: every repository on one engine and one client of Redis, opened and closed together."""

import difflib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Optional, TypedDict, TypeVar, Union, Unpack

import msgspec

from scheduler_repo.cache.client import create_redis, create_valkey_client
from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.connecting import open_database, place_of
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.waker import ChangeWaker
from scheduler_repo.errors import InvalidSettings, InvalidWiring
from scheduler_repo.quoting import with_article
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.history.db_source import HistoryDBSource
from scheduler_repo.repositories.history.repository import HistoryRepository
from scheduler_repo.repositories.kernel.db_source import KernelDBSource
from scheduler_repo.repositories.kernel.repository import KernelRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.repositories.reservation.repository import ReservationRepository
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository
from scheduler_repo.secret_urls import shown_url
from scheduler_repo.settings import CacheSettings, DatabaseSettings, Pooler, SecretKey, SecretUrl, Settings
from scheduler_repo.wiring import describe_part

_CACHE_PREFIX: Final = "redis_"

SectionT = TypeVar("SectionT", DatabaseSettings, CacheSettings)


class DatabaseOptions(TypedDict, total=False):
    """The fields of DatabaseSettings but for the URL, as keywords."""

    pool_size: int
    pool_timeout: float
    connect_timeout: float
    statement_timeout: float
    lock_timeout: float
    batch_lock_timeout: float
    idle_in_transaction_timeout: float
    resolve_timeout: float
    connection_lifetime: float
    application_name: str
    pooler: Optional[Pooler]
    keeps_logs_short: bool


class CacheOptions(TypedDict, total=False):
    """The fields of CacheSettings but for the URL, as keywords."""

    redis_timeout: float
    redis_lifetime: float
    redis_signing_keys: tuple[SecretKey, ...]


class ConnectionOptions(DatabaseOptions, CacheOptions):
    """The keywords of ``open_repositories`` beside the URLs; times in seconds."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Repositories:
    """Every repository of the package, on one engine, for one event loop; ``open_repositories`` makes it."""

    engine: ExtendedAsyncSAEngine
    sessions: SessionRepository
    kernels: KernelRepository
    vfolders: VFolderRepository
    history: HistoryRepository
    agents: AgentRepository
    scaling_groups: ScalingGroupRepository
    owners: OwnerRepository
    quotas: QuotaRepository
    resource_policies: ResourcePolicyRepository
    scheduler: SchedulerRepository
    lifecycle: LifecycleRepository
    reservations: ReservationRepository
    leases: LeaseRepository
    audit: AuditRepository
    retention: RetentionRepository
    cluster: ClusterRepository

    def __repr__(self) -> str:
        return f"<Repositories on {shown_url(self.engine.url.render_as_string())}>"


def open_repositories(
    database_url: Union[str, SecretUrl, DatabaseSettings],
    redis_url: Union[str, SecretUrl, CacheSettings, None] = None,
    **settings: Unpack[ConnectionOptions],
) -> AbstractAsyncContextManager[Repositories]:
    """Open all repositories: ``async with open_repositories(database_url, redis_url) as repos:``.

    Each URL may be a text, a SecretUrl, or a settings struct that holds it. Without a struct, settings are
    keywords: the fields of DatabaseSettings (``pool_size=10``), and those of CacheSettings behind ``redis_``
    (``redis_timeout=0.1``). Raises InvalidSettings, and InvalidWiring for a part of another kind, at once.

    Entering connects to the database once, and raises SchemaMismatch, which says what to run, unless its schema
    is the one that this version needs, and DatabaseUnavailable, DatabaseTimeout or PoolerInTheWay where it
    cannot be used. Redis is not asked: while it is down the database answers. At the end of the block, however
    that ends, caches, client and engine are closed; what is still running in other tasks then fails.
    """
    given: dict[str, object] = {**settings}
    _refuse_unknown(given)
    for_cache = {name: given.pop(name) for name in list(given) if name.startswith(_CACHE_PREFIX)}
    database = _read_settings(DatabaseSettings, "database_url", database_url, given)
    place_of(database)  # raises if the URL cannot be read
    if redis_url is None:
        if for_cache:
            raise InvalidSettings(f"{min(for_cache)} is given without redis_url; give both, or leave it out")
        return _Opening(_open(database, None))
    for_cache = {name.removeprefix(_CACHE_PREFIX): value for name, value in for_cache.items()}
    cache = _read_settings(CacheSettings, "redis_url", redis_url, for_cache)
    create_redis(cache)  # raises if the URL cannot be read
    return _Opening(_open(database, cache))


class _Opening(AbstractAsyncContextManager[Repositories]):
    """Repositories that are not open yet; whatever else than ``async with`` is asked of them says so."""

    def __init__(self, opening: AbstractAsyncContextManager[Repositories]) -> None:
        self._opening = opening

    async def __aenter__(self) -> Repositories:
        return await self._opening.__aenter__()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> Optional[bool]:
        return await self._opening.__aexit__(kind, error, trace)

    def __enter__(self) -> NoReturn:
        raise _not_open()

    def __exit__(self, *_: object) -> NoReturn:
        raise _not_open()

    def __await__(self) -> NoReturn:
        raise _not_open()

    def __getattr__(self, name: str) -> NoReturn:
        if name in Repositories.__annotations__:
            raise _not_open()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _not_open() -> InvalidWiring:
    return InvalidWiring("the repositories are not open; write: async with open_repositories(...) as repos:")


@asynccontextmanager
async def embedded_repositories(**settings: Unpack[ConnectionOptions]) -> AsyncIterator[Repositories]:
    """Open all repositories on a private PostgreSQL and Valkey, for a first try and for tests.

    The servers come with the extra ``embedded``, start in about a second beside the event loop, and are removed
    with all their data at the end of the block. The schema is made, and the repositories connect as
    scheduler_repo_scheduler. ``settings`` are those of ``open_repositories``. Raises EmbeddedServerError if the
    extra is missing, or a server does not start.
    """
    from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
    from scheduler_repo.embedded.ready import DATABASE, SCHEDULER, THROW_AWAY, create_database, starting

    _refuse_unknown(settings)
    postgres, valkey = EmbeddedPostgres(settings=THROW_AWAY), EmbeddedValkey()
    async with starting((postgres, valkey)) as started:
        await started
        await create_database(postgres)
        async with open_repositories(postgres.url(DATABASE, SCHEDULER), valkey.url, **settings) as repositories:
            yield repositories


@asynccontextmanager
async def _open(database: DatabaseSettings, cache: Optional[CacheSettings]) -> AsyncIterator[Repositories]:
    async with open_database(database, to_write=False) as engine:
        stack = AsyncExitStack()
        try:
            yield _build(engine, cache, stack)
        finally:
            await run_to_end(stack.aclose())


def _build(
    engine: ExtendedAsyncSAEngine, cache: Optional[CacheSettings], stack: AsyncExitStack
) -> Repositories:
    """Put the repositories together; ``stack`` closes the cache sources, then their client, then the waker."""
    waker = ChangeWaker(engine)
    stack.push_async_callback(waker.aclose)
    sessions, scheduler = SessionDBSource(engine), SchedulerDBSource(engine)
    scaling_groups = ScalingGroupDBSource(engine)
    session_cache, scheduler_cache, group_cache = None, None, None
    if cache is not None:
        client = create_valkey_client(cache)
        # Sessions keep a shorter lifetime of their own: it bounds what is stale after a crash.
        session_cache = SessionCacheSource(client, sessions)
        scheduler_cache = SchedulerCacheSource(client, scheduler, lifetime=cache.lifetime)
        group_cache = ScalingGroupCacheSource(client, scaling_groups, lifetime=cache.lifetime)
        for opened in (client, session_cache, scheduler_cache, group_cache):
            stack.push_async_callback(opened.aclose)
    return Repositories(
        engine=engine,
        sessions=SessionRepository(sessions, session_cache),
        kernels=KernelRepository(KernelDBSource(engine)),
        vfolders=VFolderRepository(VFolderDBSource(engine)),
        history=HistoryRepository(HistoryDBSource(engine)),
        agents=AgentRepository(AgentDBSource(engine)),
        scaling_groups=ScalingGroupRepository(scaling_groups, group_cache),
        owners=OwnerRepository(OwnerDBSource(engine)),
        quotas=QuotaRepository(QuotaDBSource(engine)),
        resource_policies=ResourcePolicyRepository(ResourcePolicyDBSource(engine)),
        scheduler=SchedulerRepository(scheduler, scheduler_cache, waker),
        lifecycle=LifecycleRepository(LifecycleDBSource(engine)),
        reservations=ReservationRepository(ReservationDBSource(engine)),
        leases=LeaseRepository(LeaseDBSource(engine)),
        audit=AuditRepository(AuditDBSource(engine)),
        retention=RetentionRepository(RetentionDBSource(engine)),
        cluster=ClusterRepository(ClusterDBSource(engine)),
    )


def _refuse_unknown(given: Mapping[str, object]) -> None:
    known = [*DatabaseOptions.__annotations__, *CacheOptions.__annotations__]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise InvalidSettings(f"{name} is no setting; {advice}")


def _read_settings(kind: type[SectionT], name: str, given: object, fields: Mapping[str, object]) -> SectionT:
    """Return the settings that the parameter ``name`` was given whole, or a URL's with ``fields``."""
    if isinstance(given, kind):
        if fields:
            advice = f"set it in that, or give {name} as text"
            raise InvalidSettings(f"{min(fields)} is given beside {with_article(kind)}; {advice}")
        return given
    url = SecretUrl(given) if isinstance(given, str) else given
    if not isinstance(url, SecretUrl):
        section = "its .database or .cache" if isinstance(given, Settings) else f"a URL or {with_article(kind)}"
        raise InvalidWiring(f"{name} is {describe_part(given)}; give {section}")
    return msgspec.structs.replace(kind(url=url), **fields)
