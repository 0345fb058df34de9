"""Equal requests have equal digests, in any order and of any version, for every write with an operation id."""

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID, uuid4

import msgspec
import pytest

import scheduler_repo
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.entities import request_digest
from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.entities.spec import encode_value
from scheduler_repo.errors import OperationMismatch
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.admission.transitions import SessionChange
from scheduler_repo.steps import finish
from scheduler_repo.types import KernelId, OperationId, SessionId
from tests.api.statement_table import CASES, fill_table
from tests.api.world import World
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    CPU,
    GROUP,
    MEM,
    USER,
    agent,
    cluster,
    kernel_id,
    place,
    session,
    session_id,
)

fill_table()

KERNELS: Final = {KernelId(UUID(int=number)): number for number in (3, 1, 2)}
# Requests that are not among the calls of the table: nothing in these is a mapping by ids.
MORE: Final[dict[str, object]] = {
    "mark_sessions": ("TERMINATED", [SessionChange(SessionId(USER), exit_codes=KERNELS)], "reason"),
    "mark_sessions, running": (
        "RUNNING",
        [SessionChange(SessionId(USER), occupied_slots={each: {MEM: 1, CPU: 2} for each in KERNELS})],
    ),
    "create_sessions": (session(1, 2**70, 3), session(2, 1)),
    "a set": frozenset(KERNELS),
}


def compute_digest(name: str, request: object) -> bytes:
    return finish(request_digest.compute_digest(name, request))


def compute_unordered_digest(name: str, request: object) -> bytes:
    return finish(request_digest.compute_unordered_digest(name, request))


def digest_of_before(name: str, request: object) -> bytes:
    """What the version before stored."""
    encoder = msgspec.msgpack.Encoder(uuid_format="bytes", enc_hook=encode_value)
    try:
        encoded = encoder.encode((name, request))
    except OverflowError:
        encoded = repr((name, request)).encode()
    return hashlib.blake2b(encoded, digest_size=16).digest()


def changed(value: object, change: Callable[[object], object]) -> object:
    """The value with ``change`` made to all that it holds, from the inside out."""
    if isinstance(value, msgspec.Struct):
        fields = {name: changed(getattr(value, name), change) for name in value.__struct_fields__}
        return change(msgspec.structs.replace(value, **fields))
    if isinstance(value, Mapping):
        return change({key: changed(each, change) for key, each in value.items()})
    if isinstance(value, (list, tuple)):
        return change(type(value)(changed(each, change) for each in value))
    return change(value)


def backwards(value: object) -> object:
    if isinstance(value, dict):
        return MappingProxyType(dict(reversed(value.items())))
    if isinstance(value, frozenset):
        return frozenset(sorted(value, reverse=True))
    return value


def grown(value: object, later: object = "default") -> object:
    """A struct as a later version has it, with one more field."""
    if not isinstance(value, msgspec.Struct):
        return value
    kind = type(value)
    later_field = [("a_later_field", str, "default")]
    made = msgspec.defstruct(kind.__name__, later_field, bases=(kind,), frozen=True, kw_only=True)
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return made(**fields, a_later_field=later)


def find_writes() -> set[str]:
    """The names of all kinds of writes that take an operation id."""
    writes = set()
    for module in pkgutil.walk_packages(scheduler_repo.__path__, "scheduler_repo."):
        if module.name.startswith("scheduler_repo.repositories"):
            found = vars(importlib.import_module(module.name)).values()
            writes |= {each.name for each in found if isinstance(each, IdempotentWrite)}
    return writes


class TestEveryWrite:
    async def test_has_one_digest_for_equal_requests(
        self, engine: ExtendedAsyncSAEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a request of every kind
        requests: dict[str, object] = {}
        run = IdempotentWrite.run

        async def noting(write: IdempotentWrite[object], *args: object, **kwargs: object) -> object:
            requests.setdefault(write.name, kwargs["request"])
            return await run(write, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(IdempotentWrite, "run", noting)
        world = World(engine)
        await world.settle()
        for case in CASES.values():
            await world.recover()
            await (await case.prepare(world, 2))
        assert set(requests) == find_writes()
        for name, request in (requests | MORE).items():
            digest = compute_digest(name, request)
            # then the order of a mapping or set is nothing
            assert compute_digest(name, changed(request, backwards)) == digest, name
            # and neither is a field that is at its default, of any struct in it
            assert compute_digest(name, changed(request, grown)) == digest, name
            # and what the version before stored is known
            before = digest_of_before(name, request)
            assert before in (digest, compute_unordered_digest(name, request)), name
            assert before in (digest, compute_unordered_digest(name, changed(request, grown))), name
            # but another request is another
            other = changed(request, lambda value: grown(value, "other"))
            assert (compute_digest(name, other) == digest) == (other == request), name

    def test_long_requests_are_encoded_in_steps_and_as_ever(self) -> None:
        ids = [UUID(int=number) for number in range(65_536)]
        agents = [agent(f"a{number}") for number in range(300)]
        lists = [ids[:size] for size in (0, 1, 15, 16, 63, 64, 65, 65_535, 65_536)]
        whole = cluster(agents, [session(number, 1) for number in range(200)])
        for request in (*lists, ("gpu", ids[:200], None), [[ids[:99]], []], agents, tuple(agents), whole):
            # when
            steps = sum(1 for _ in request_digest.compute_digest("write", request))
            # then
            assert compute_digest("write", request) == digest_of_before("write", request)
            assert request is not whole or steps > 500 / 64

    def test_digests_of_this_version_stay_for_ever(self) -> None:
        spec = SessionCreationSpec(
            name="one",
            scaling_group=GROUP,
            access_key=session(1).access_key,
            user_id=USER,
            project_id=session(1).project_id,
            domain_name=session(1).domain_name,
            kernels=(KernelSpec(kernel_id=kernel_id(1), requested_slots={CPU: 1, MEM: 2}),),
            session_id=session_id(1),
        )
        digests = {
            "create": compute_digest("create_sessions", (spec,)).hex(),
            "register": compute_digest("register_agents", (agent("a1"),)).hex(),
            "return": compute_digest("return_agents", [AgentReport(agent("a1").agent_id, {CPU: 1})]).hex(),
            "mark": compute_digest("mark_sessions", MORE["mark_sessions"]).hex(),
        }
        assert digests == {
            "create": "3b6668b209aa3c4bbc90dfd637196a8f",
            "mark": "7f19a2962868b25fd8bd7b88a52b845e",
            "register": "8e8aa4639f50790cf7cbbc825894e4ad",
            "return": "eb7147d48fbb228e0a0ed422f86204e7",
        }


class TestMarkTerminated:
    """What was seen: the exit codes' mapping in another order was another request."""

    @pytest.fixture
    async def running(self, load: Load, scheduler: SchedulerRepository) -> None:
        await load(cluster([agent("a1")], [session(0, 1, 1, 1)]))
        await scheduler.allocate_sessions(GROUP, [place(0, "a1", "a1", "a1")])

    @pytest.mark.usefixtures("running")
    async def test_asked_again_in_any_order_is_the_same(
        self, lifecycle: LifecycleRepository, owner_connection: DriverConnection
    ) -> None:
        operation_id = OperationId(uuid4())
        codes = {kernel_id(0, index): index for index in range(3)}
        again = dict(reversed(codes.items()))
        first = await lifecycle.mark_terminated(
            [SessionEnd(session_id(0), exit_codes=codes)], operation_id=operation_id
        )
        assert first.changed == (session_id(0),)
        # when asked again, in another order, as the version before has stored it too
        for stored in (None, digest_of_before("mark_sessions", ("TERMINATED", self._changes(again), None))):
            if stored is not None:
                await owner_connection.execute("UPDATE operations SET request_digest = $1", stored)
            second = await lifecycle.mark_terminated(
                [SessionEnd(session_id(0), exit_codes=again)], operation_id=operation_id
            )
            assert second == first
        # and another code is another request
        with pytest.raises(OperationMismatch):
            await lifecycle.mark_terminated(
                [SessionEnd(session_id(0), exit_codes={**codes, kernel_id(0): 7})], operation_id=operation_id
            )

    def _changes(self, codes: Mapping[KernelId, int]) -> list[SessionChange]:
        return [SessionChange(session_id(0), exit_codes=codes)]
