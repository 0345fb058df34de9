"""The plain way answers what the engine does, or it would be no rival."""

from collections.abc import Sequence
from typing import Optional

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.sides.plain_reads import PlainState
from bench.sides.readers import open_readers
from bench.suites.suite import Bench
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.types import OwnerScope


async def add_what_a_synthetic_cluster_lacks(place: Place) -> None:
    """Preemption, a reservation, a dependency that has ended and one that is gone."""
    async with place.administering() as driver:
        await driver.execute("UPDATE scaling_groups SET preemption_scope = 'GROUP'")
        await driver.execute(
            "UPDATE sessions SET priority = 99 WHERE id IN "
            "(SELECT id FROM sessions WHERE scaling_group = $1 AND status = 'PENDING' ORDER BY id LIMIT 3)",
            GROUP,
        )
        await driver.execute(
            "INSERT INTO session_dependencies SELECT s.id, other.id FROM "
            "(SELECT id FROM sessions WHERE status = 'PENDING' AND priority = 99) AS s, "
            "((SELECT id FROM sessions WHERE status = 'TERMINATED' LIMIT 2) "
            "UNION ALL VALUES (gen_random_uuid())) AS other (id)"
        )
        await driver.execute(
            "INSERT INTO reservations (session_id, scaling_group) "
            "SELECT id, scaling_group FROM sessions WHERE status = 'PENDING' AND priority = 99"
        )
        await driver.execute(
            "INSERT INTO kernel_reservations (kernel_id, session_id, agent_id) SELECT k.id, k.session_id, "
            "(SELECT min(id) FROM agents WHERE scaling_group = $1) "
            "FROM kernels AS k JOIN reservations USING (session_id)",
            GROUP,
        )


def filled(limits: Sequence[Optional[int]], width: int) -> tuple[Optional[int], ...]:
    return (*limits, *[None] * (width - len(limits)))


def assert_alike(plain: PlainState, data: SchedulingData) -> None:
    """Everything that the engine answers is in the plain answer too."""
    width = len(data.slot_types)
    assert [each.name for each in plain.slot_types] == [each.name for each in data.slot_types]
    assert plain.group.preemption_scope == data.scaling_group.preemption_scope
    assert [
        (
            each.id,
            each.priority,
            [(kernel.id, tuple(kernel.requested_slots)) for kernel in each.kernels],
            [
                (on.depends_on, on.other and on.other.status, on.other and on.other.result)
                for on in each.dependencies
            ],
        )
        for each in plain.pending
    ] == [
        (
            each.session_id,
            each.priority,
            [(kernel.kernel_id, kernel.requested_slots) for kernel in each.kernels],
            [(on.depends_on, on.status, on.result) for on in each.dependencies],
        )
        for each in data.pending_sessions
    ]
    indexes = {each.name: each.slot_index for each in data.slot_types}
    assert [
        (each.id, {indexes[slot.slot_name]: (slot.capacity, slot.occupied) for slot in each.slots})
        for each in plain.agents
    ] == [
        (each.agent_id, dict(enumerate(zip(each.capacity, each.occupied, strict=True)))) for each in data.agents
    ]
    assert [tuple(plain.reserved[each.agent_id]) for each in data.agents if each.reserved_containers] == [
        each.reserved for each in data.agents if each.reserved_containers
    ]
    assert [
        (each.session_id, {held.kernel_id: held.agent_id for held in each.kernels})
        for each in plain.reservations
    ] == [
        (each.session_id, {held.kernel_id: held.agent_id for held in each.kernels})
        for each in data.reservations
    ]
    assert [(each.id, len(each.kernels)) for each in plain.candidates] == [
        (each.session_id, sum(gain.container_count for gain in each.gains))
        for each in data.preemption_candidates
    ]
    for scope in OwnerScope:
        for owner in data.owners_of(scope):
            usage = plain.usage[scope.value, str(owner.owner_id)]
            limits = plain.limits[scope.value, str(owner.owner_id)]
            assert (tuple(usage.slots), len(usage.sessions)) == (owner.occupied, owner.session_count)
            assert filled(limits.slots, width) == owner.slot_limits
            assert (limits.sessions, limits.kernels_per_session) == (
                owner.max_concurrent_sessions,
                owner.max_kernels_per_session,
            )


class TestPlainRead:
    async def test_answers_what_the_engine_does(self, bench: Bench) -> None:
        async with bench.cluster() as loaded:
            # given
            await add_what_a_synthetic_cluster_lacks(loaded.place)
            for pending_limit in (None, 20):
                # when
                async with open_readers(loaded.place, pending_limit) as readers:
                    plain, data = await readers.read_plainly(), await readers.read()
                # then
                assert data.reservations
                assert data.preemption_candidates
                assert any(each.dependencies for each in data.pending_sessions)
                assert_alike(plain, data)
