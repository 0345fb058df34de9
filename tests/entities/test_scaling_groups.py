"""Scaling groups as their rows say, in order, and as the next tick sees them once they are changed."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.entities.scaling_group import (
    ScalingGroup,
    ScalingGroupChanges,
    ScalingGroupFilter,
    ScalingGroupSpec,
)
from scheduler_repo.entities.slot_type import SlotType, SlotTypeSpec
from scheduler_repo.errors import (
    InvalidCursor,
    InvalidFilter,
    InvalidInput,
    InvalidLimit,
    OperationMismatch,
    ScalingGroupNotFound,
)
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.types import OperationId, PreemptionScope, ScalingGroupName, SlotName

GPU, CLOSED, PRIVATE = (ScalingGroupName(name) for name in ("gpu", "closed", "private"))
NOWHERE = ScalingGroupName("nowhere")
HOUR = timedelta(hours=1)

# The options of the group "gpu" before any change.
OPTIONS: Mapping[str, object] = {
    "is_active": True,
    "is_public": True,
    "pending_timeout": HOUR,
    "preemption_scope": PreemptionScope.USER,
    "preemption_min_runtime": timedelta(minutes=5),
}


def options(info: ScalingGroup) -> Mapping[str, object]:
    """What can be changed of a group."""
    return {name: getattr(info, name) for name in OPTIONS}


@pytest.fixture(autouse=True)
async def three_groups(groups: ScalingGroupRepository) -> None:
    await groups.create_scaling_groups(
        [
            ScalingGroupSpec(name=PRIVATE, is_public=False),
            ScalingGroupSpec(
                name=GPU,
                pending_timeout=HOUR,
                preemption_scope=PreemptionScope.USER,
                preemption_min_runtime=timedelta(minutes=5),
            ),
            ScalingGroupSpec(name=CLOSED, is_active=False),
        ]
    )


class TestReads:
    async def test_get_and_find_say_what_was_created(self, groups: ScalingGroupRepository) -> None:
        # when
        gpu, closed, private = [await groups.get_scaling_group(name) for name in (GPU, CLOSED, PRIVATE)]
        # then
        assert options(gpu) == OPTIONS
        assert gpu.created_at.utcoffset() == timedelta()
        assert (closed.is_active, closed.is_public, closed.pending_timeout) == (False, True, None)
        assert (private.is_active, private.is_public, private.preemption_scope) == (True, False, None)
        assert await groups.find_scaling_group(GPU) == gpu

    async def test_unknown_group_is_named(self, groups: ScalingGroupRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="'nowhere'"):
            await groups.get_scaling_group(NOWHERE)
        assert await groups.find_scaling_group(NOWHERE) is None

    async def test_list_is_all_by_name(self, groups: ScalingGroupRepository) -> None:
        # given a name that a language would put among the others
        await groups.create_scaling_groups([ScalingGroupSpec(name=ScalingGroupName("Gpu"))])
        # when
        listed = await groups.list_scaling_groups()
        # then
        assert [info.name for info in listed] == ["Gpu", "closed", "gpu", "private"]
        assert listed[2] == await groups.get_scaling_group(GPU)

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            (None, ["closed", "gpu", "private"]),
            (ScalingGroupFilter(is_active=True), ["gpu", "private"]),
            (ScalingGroupFilter(is_active=False), ["closed"]),
            (ScalingGroupFilter(is_public=False), ["private"]),
            (ScalingGroupFilter(is_public=True, is_active=True), ["gpu"]),
            (ScalingGroupFilter(name_prefix="p"), ["private"]),
            (ScalingGroupFilter(name_prefix="%"), []),
        ],
    )
    @pytest.mark.parametrize("limit", [1, 2, 3, 1_000])
    async def test_pages_are_what_the_filter_finds(
        self, groups: ScalingGroupRepository, wanted: ScalingGroupFilter, names: list[str], limit: int
    ) -> None:
        # when
        page = await groups.search_scaling_groups(wanted, limit)
        found = list(page.items)
        while page.next_cursor is not None:
            assert len(page.items) == limit
            page = await groups.search_scaling_groups(wanted, limit, page.next_cursor)
            found += page.items
        # then
        assert [info.name for info in found] == names

    async def test_bad_searches_are_refused(self, groups: ScalingGroupRepository) -> None:
        # given
        cursor = (await groups.search_scaling_groups(limit=1)).next_cursor
        # when / then
        with pytest.raises(InvalidCursor):
            await groups.search_scaling_groups(ScalingGroupFilter(is_active=True), 1, cursor)
        with pytest.raises(InvalidLimit):
            await groups.search_scaling_groups(limit=0)
        with pytest.raises(InvalidFilter, match="is_active"):
            await groups.search_scaling_groups(ScalingGroupFilter(is_active="yes"))  # type: ignore[arg-type]
        with pytest.raises(InvalidFilter, match="unknown field `owner`"):
            ScalingGroupFilter.of({"owner": "ada"})

    async def test_slot_types_are_listed_by_index(self, groups: ScalingGroupRepository) -> None:
        # given
        names = [SlotName(name) for name in ("mem", "cpu")]
        registered = await groups.register_slot_types(
            [SlotTypeSpec(name=name, units_per_whole=1_000, display_unit="u") for name in names]
        )
        # when
        listed = await groups.list_slot_types()
        # then
        assert listed == registered
        assert listed == (SlotType(names[0], 0, 1_000, "u"), SlotType(names[1], 1, 1_000, "u"))


class TestUpdate:
    @pytest.mark.parametrize(
        "changed",
        [
            {},
            {"is_active": False},
            {"is_public": False},
            {"pending_timeout": timedelta(days=400, microseconds=1)},
            {"pending_timeout": None},
            {"preemption_scope": PreemptionScope.GROUP},
            {"preemption_scope": None},
            {"preemption_min_runtime": timedelta()},
            {
                "is_active": False,
                "is_public": False,
                "pending_timeout": None,
                "preemption_scope": None,
                "preemption_min_runtime": HOUR,
            },
        ],
    )
    async def test_changes_what_is_set_and_nothing_else(
        self, groups: ScalingGroupRepository, db_source: SchedulerDBSource, changed: Mapping[str, object]
    ) -> None:
        # given
        others = [await groups.get_scaling_group(name) for name in (CLOSED, PRIVATE)]
        # when
        answer = await groups.update_scaling_group(GPU, ScalingGroupChanges(**changed))  # type: ignore[arg-type]
        # then the answer, the row and the next tick say the same
        assert options(answer) == {**OPTIONS, **changed}
        assert await groups.get_scaling_group(GPU) == answer
        seen = (await db_source.get_scheduling_data(GPU)).data.scaling_group
        for name in seen.__struct_fields__:
            assert getattr(seen, name) == getattr(answer, name), name
        assert [await groups.get_scaling_group(name) for name in (CLOSED, PRIVATE)] == others

    async def test_unknown_group_is_named(self, groups: ScalingGroupRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="'nowhere'"):
            await groups.update_scaling_group(NOWHERE, ScalingGroupChanges(is_active=False))

    async def test_asked_again_it_answers_the_same_and_writes_nothing(
        self, groups: ScalingGroupRepository
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        changes = ScalingGroupChanges(pending_timeout=None)
        first = await groups.update_scaling_group(GPU, changes, operation_id=operation_id)
        latest = await groups.update_scaling_group(GPU, ScalingGroupChanges(pending_timeout=HOUR))
        # when
        again = await groups.update_scaling_group(GPU, changes, operation_id=operation_id)
        # then
        assert again == first
        assert await groups.get_scaling_group(GPU) == latest
        # and what is unset is another request than what is None
        with pytest.raises(OperationMismatch):
            await groups.update_scaling_group(GPU, ScalingGroupChanges(), operation_id=operation_id)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("is_active", None),
            ("is_active", 1),
            ("is_public", "no"),
            ("pending_timeout", timedelta()),
            ("pending_timeout", -HOUR),
            ("pending_timeout", 3_600),
            ("preemption_scope", "USER"),
            ("preemption_min_runtime", None),
            ("preemption_min_runtime", -HOUR),
        ],
    )
    async def test_option_that_cannot_be_is_refused(
        self, groups: ScalingGroupRepository, field: str, value: object
    ) -> None:
        # when / then
        with pytest.raises(InvalidInput, match=field):
            await groups.update_scaling_group(
                GPU, msgspec.structs.replace(ScalingGroupChanges(), **{field: value})
            )
        assert options(await groups.get_scaling_group(GPU)) == OPTIONS
