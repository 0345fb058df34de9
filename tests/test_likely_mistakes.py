"""What a user of the library gets wrong first is refused where it is made, by a typed error that names it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import cast
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.owner import OwnersSpec, UserSpec
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.errors import AlreadyExists, InvalidInput, InvalidSettings
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.explain.session import explain_session
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import DomainName, ScalingGroupName, SessionId, SlotName, UserId
from scheduler_repo.workload.synthetic import synthetic_queue
from tests.support.databases import ADMIN, Database
from tests.support.shared_databases import SharedDatabase

GROUP = ScalingGroupName("mistakes")


class OddPlanner:
    """A planner that returns whatever it was made with."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self._answer = answer

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return cast(Sequence[SessionAllocation], self._answer())


async def _coroutine() -> None:
    """What a planner written as ``async def`` returns."""


class TestLikelyMistakes:
    @pytest.fixture
    async def engine(self, shared_database: SharedDatabase) -> ExtendedAsyncSAEngine:
        queue = synthetic_queue(agents=2, sessions=1, kernels=1, scaling_group=GROUP)
        await ClusterRepository(ClusterDBSource(shared_database.engine)).load_cluster(queue)
        return shared_database.engine

    @pytest.fixture
    def session(self) -> SessionCreationSpec:
        """A session like the one that is there, under an id of its own."""
        (like,) = synthetic_queue(agents=2, sessions=1, kernels=1, scaling_group=GROUP).sessions
        kernels = tuple(msgspec.structs.replace(kernel, kernel_id=uuid4()) for kernel in like.kernels)
        return msgspec.structs.replace(like, session_id=SessionId(uuid4()), kernels=kernels)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("designated_agent_ids", "node-1"),
            ("depends_on", uuid4()),
            ("kernels", []),
            ("session_type", "BATCH"),
            ("cluster_mode", "single"),
        ],
    )
    def test_a_field_of_another_kind(self, session: SessionCreationSpec, field: str, value: object) -> None:
        with pytest.raises(InvalidInput, match=f"SessionCreationSpec.{field} is .*, it must be a"):
            msgspec.structs.replace(session, **{field: value})

    def test_a_string_for_a_tuple_of_owners(self) -> None:
        with pytest.raises(InvalidInput, match=r"OwnersSpec.domains is 'lab', it must be a tuple"):
            OwnersSpec(domains=cast("tuple[()]", "lab"))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("user_id", "alice"),
            ("priority", "high"),
            ("priority", 2**40),
            ("priority", 1.9),
            ("requested_start_at", datetime.max.replace(tzinfo=UTC)),
            ("name", 7),
            ("created_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - it is what is tested
        ],
    )
    async def test_a_value_that_cannot_be_stored(
        self,
        engine: ExtendedAsyncSAEngine,
        migrated_database: Database,
        session: SessionCreationSpec,
        field: str,
        value: object,
    ) -> None:
        repository = SessionRepository(SessionDBSource(engine))
        odd = msgspec.structs.replace(session, **{field: value})
        with pytest.raises(InvalidInput):
            await repository.enqueue_sessions([session, odd])
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions") == 1

    async def test_a_slot_type_given_twice_takes_one_index(self, engine: ExtendedAsyncSAEngine) -> None:
        repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
        tpu, npu = SlotTypeSpec(name=SlotName("tpu")), SlotTypeSpec(name=SlotName("npu"))
        found = await repository.register_slot_types([tpu, tpu, npu])
        assert [slot_type.name for slot_type in found][-2:] == ["tpu", "npu"]

    async def test_a_user_whose_name_is_taken(self, engine: ExtendedAsyncSAEngine) -> None:
        repository = OwnerRepository(OwnerDBSource(engine))
        lab = DomainName("lab")
        one, other = (UserSpec(user_id=UserId(uuid4()), name="ada", domain_name=lab) for _ in range(2))
        await repository.register_owners(OwnersSpec(domains=(lab,), users=(one,)))
        await repository.register_owners(OwnersSpec(users=(one,)))
        with pytest.raises(AlreadyExists, match="another user of the domain has this name"):
            await repository.register_owners(OwnersSpec(users=(other,)))

    @pytest.mark.parametrize("max_staleness", [-1.0, float("nan"), float("inf")])
    async def test_a_staleness_that_is_none(self, engine: ExtendedAsyncSAEngine, max_staleness: float) -> None:
        repository = SchedulerRepository(SchedulerDBSource(engine))
        with pytest.raises(InvalidInput, match="max_staleness"):
            await repository.get_scheduling_data(GROUP, max_staleness)

    @pytest.mark.parametrize("answer", [lambda: None, _coroutine, lambda: (_ for _ in ())])
    async def test_a_plan_that_is_no_sequence(
        self, engine: ExtendedAsyncSAEngine, answer: Callable[[], object]
    ) -> None:
        loop = SchedulerLoop(SchedulerRepository(SchedulerDBSource(engine)), OddPlanner(answer), GROUP)
        with pytest.raises(InvalidInput, match="it must be a plain function that returns a sequence"):
            await loop.tick()

    @pytest.mark.parametrize(
        ("field", "value"), [("pool_size", 0), ("lock_timeout", -1.0), ("url", "postgresql://h/d")]
    )
    def test_a_setting_out_of_range(self, field: str, value: object) -> None:
        fields: dict[str, object] = {"url": SecretUrl("postgresql://h/d"), field: value}
        with pytest.raises(InvalidSettings, match=f"DatabaseSettings.{field}"):
            msgspec.structs.replace(DatabaseSettings(url=SecretUrl("postgresql://h/d")), **fields)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("batch_size", "10"),
            ("batch_size", 1.5),
            ("audit_every", None),
            ("on_batch", 5),
            ("on_batch", _coroutine),
        ],
    )
    def test_an_option_of_the_loop(self, engine: ExtendedAsyncSAEngine, option: str, value: object) -> None:
        repository = SchedulerRepository(SchedulerDBSource(engine))
        make = partial(SchedulerLoop, repository, OddPlanner(lambda: ()), GROUP)
        with pytest.raises(InvalidInput, match=option):
            make(**{option: value})  # type: ignore[arg-type] # it is what is tested

    def test_a_planner_that_takes_no_data(self, engine: ExtendedAsyncSAEngine) -> None:
        class Forgetful:
            def plan(self) -> Sequence[SessionAllocation]:
                return ()

        with pytest.raises(InvalidInput, match=r"Forgetful.plan\(\) must take the data alone"):
            SchedulerLoop(
                SchedulerRepository(SchedulerDBSource(engine)), cast("OddPlanner", Forgetful()), GROUP
            )

    @pytest.mark.parametrize("item", [uuid4(), ("a", "b"), None])
    async def test_a_plan_of_other_things(self, engine: ExtendedAsyncSAEngine, item: object) -> None:
        loop = SchedulerLoop(SchedulerRepository(SchedulerDBSource(engine)), OddPlanner(lambda: [item]), GROUP)
        with pytest.raises(InvalidInput, match="give a SessionAllocation for each"):
            await loop.tick()

    async def test_a_text_for_the_session_to_explain(self, engine: ExtendedAsyncSAEngine) -> None:
        data = await SchedulerRepository(SchedulerDBSource(engine)).get_scheduling_data(GROUP)
        (session,) = data.pending_sessions
        with pytest.raises(InvalidInput, match="is a str, it must be a UUID"):
            explain_session(data, cast("SessionId", str(session.session_id)))
