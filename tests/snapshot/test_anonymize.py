"""A snapshot without names: none is left, whatever field it was in, and the decisions are the same."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Optional
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import (
    PendingSession,
    SchedulingData,
    SessionDependency,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import (
    ChangeHistory,
    DatabaseIdentity,
    ServerLife,
    Snapshot,
    SnapshotToken,
)
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.explain.reasons import waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.rules.preemption import preemptible
from scheduler_repo.scheduling.snapshot.anonymize import FIXED, KEPT, anonymize
from scheduler_repo.scheduling.snapshot.leaves import Change, Leaf, compile_walk
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    PreemptionScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotName,
    UserId,
)
from tests.support.strategies import (
    ACCESS_KEYS,
    DOMAINS,
    OBSERVED_AT,
    PROJECTS,
    SLOT_TYPES,
    USERS,
    make_agent,
    make_candidate,
    make_data,
    make_reservation,
    make_session,
    make_usage,
    reserved_scheduling_data,
)

NAMES = (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)
# Whatever a person or a site has written, or a database is known by.
SECRET = re.compile(r"secret|7777", re.IGNORECASE)
CPU_KIND = Architecture("secret-cpu")
A_SESSION = make_session(
    0x77771, (1, 1, 0), (2, 1, 0), architectures=(CPU_KIND, None), designated=(AgentId("secret-9"),)
)
BASE = make_data(
    (
        make_agent("secret-1", (9, 9, 9)),
        make_agent("secret-2", (9, 9, 9), architecture=CPU_KIND, max_containers=3),
    ),
    (
        msgspec.structs.replace(
            A_SESSION,
            name="secret",
            requested_start_at=OBSERVED_AT,
            failed_agent_ids=(AgentId("secret-8"), AgentId("secret-2")),
            dependencies=(
                SessionDependency(SessionId(UUID(int=0x77770)), None, None, unknown_word="SECRET"),
                SessionDependency(
                    SessionId(UUID(int=0x77772)), SessionStatus.TERMINATED, SessionResult.SUCCESS
                ),
            ),
        ),
    ),
    reservations=(make_reservation(A_SESSION, 3, "secret-1", "secret-7"),),
    preemption_candidates=(make_candidate(0x77773),),
    access_keys=tuple(
        msgspec.structs.replace(
            make_usage(key, (1,), 1, (5,), 7, 7), resource_policy=ResourcePolicyName("secret")
        )
        for key in ACCESS_KEYS
    ),
    users=tuple(make_usage(user, (1,), 1, (5,), 7, 7) for user in USERS),
    projects=tuple(make_usage(project, (1,), 1, (5,), 7, 7) for project in PROJECTS),
    domains=tuple(make_usage(domain, (1,), 1, (5,), 7, 7) for domain in DOMAINS),
)
# No list is empty, no field of it None.
FULL = msgspec.structs.replace(
    BASE,
    token=SnapshotToken(
        Snapshot("7777:7777:"),
        DatabaseIdentity(7777, 7777, 7777, datetime(7777, 1, 1, tzinfo=UTC)),
        ChangeHistory(7777, 7777, 7777, ServerLife(UUID(int=0x7777)), "secret"),
    ),
    pending_limit=5,
    scaling_group=msgspec.structs.replace(
        BASE.scaling_group, pending_timeout=timedelta(1), preemption_scope=PreemptionScope.USER
    ),
    slot_types=(*SLOT_TYPES, SlotType(SlotName("secret.npu"), 3, 1, "secrets")),
    unreadable=(
        UnreadableRow("session", str(UUID(int=0x77770)), "'SECRET' is no SessionType"),
        UnreadableRow("scaling group", "gpu-pool", "'SECRET' is no PreemptionScope"),
        UnreadableRow("secret", "secret", "secret"),
    ),
)


def leaves() -> list[Leaf]:
    """All fields of all structs of a snapshot, found by their types."""
    found: list[Leaf] = []

    def note(leaf: Leaf) -> Optional[Change]:
        found.append(leaf)
        return None

    compile_walk(SchedulingData, note)
    return [leaf for leaf in found if not leaf.is_struct]


def leaves_of_token() -> list[Leaf]:
    return [leaf for leaf in leaves() if leaf.holder in (SnapshotToken, DatabaseIdentity, ChangeHistory)]


def hide(data: SchedulingData, words: Callable[[str], str], ids: Callable[[int], int]) -> SchedulingData:
    """The same snapshot with other names and ids."""

    def choose(leaf: Leaf) -> Optional[Change]:
        if leaf.kind in (SessionId, KernelId, UserId, ProjectId):
            return lambda value, _: UUID(int=ids(value.int)) if isinstance(value, UUID) else value
        return (lambda value, _: words(str(value))) if leaf.kind in NAMES else None

    hidden = compile_walk(SchedulingData, choose)(data)
    assert isinstance(hidden, SchedulingData)
    return hidden


def names_in(data: SchedulingData) -> list[tuple[object, object]]:
    """All ids and names with their kinds, in the order of the fields."""
    found: list[tuple[object, object]] = []

    def choose(leaf: Leaf) -> Optional[Change]:
        def note(value: object, _: object) -> object:
            found.append((leaf.kind, value))
            return value

        return note if leaf.kind in NAMES else None

    compile_walk(SchedulingData, choose)(data)
    return found


def filled_leaves(data: SchedulingData) -> set[Leaf]:
    """The fields that hold something."""
    found: set[Leaf] = set()

    def choose(leaf: Leaf) -> Optional[Change]:
        def note(value: object, _: object) -> object:
            found.add(leaf)
            return value

        return None if leaf.is_struct else note

    compile_walk(SchedulingData, choose)(data)
    return found


def renamed_plan(
    plan: tuple[SessionAllocation, ...], new: Mapping[tuple[object, object], object]
) -> list[tuple[object, list[tuple[object, object]]]]:
    return [
        (
            new[SessionId, each.session_id],
            [(new[KernelId, kernel.kernel_id], new[AgentId, kernel.agent_id]) for kernel in each.kernels],
        )
        for each in plan
    ]


def plain_plan(plan: tuple[SessionAllocation, ...]) -> list[tuple[object, list[tuple[object, object]]]]:
    return [
        (each.session_id, [(kernel.kernel_id, kernel.agent_id) for kernel in each.kernels]) for each in plan
    ]


class TestNothingIsLeft:
    def test_every_field_of_every_struct_is_on_a_list(self) -> None:
        found = leaves()
        assert len(found) > 60
        # It raises TypeError for a field that is on none.
        anonymize(make_data())
        kept = {(leaf.holder, leaf.field) for leaf in found if leaf.kind not in NAMES and not leaf.is_word}
        kept -= {(leaf.holder, leaf.field) for leaf in leaves_of_token()}
        plain = {(holder, field) for holder, fields in KEPT.items() for field in fields}
        assert not any(leaf.kind is str for leaf in found if (leaf.holder, leaf.field) in plain)
        listed = {*plain, *((holder, field) for holder, fields in FIXED.items() for field in fields)}
        assert listed <= {*((leaf.holder, leaf.field) for leaf in found), (SchedulingData, "token")}
        replaced = kept - plain - {(holder, field) for holder, fields in FIXED.items() for field in fields}
        assert {f"{holder.__name__}.{field}" for holder, field in replaced} == {
            "PendingSession.name",
            "SchedulableAgent.address",
            "SessionDependency.unknown_word",
            "SlotType.display_unit",
            "UnreadableRow.entity",
            "UnreadableRow.entity_id",
        }

    def test_a_field_added_later_is_refused_until_it_is_listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(KEPT, PendingSession, KEPT[PendingSession] - {"priority"})
        with pytest.raises(TypeError, match=r"PendingSession\.priority is on no list"):
            anonymize(make_data())

    def test_no_name_id_or_text_is_left_in_any_field(self) -> None:
        # Given a snapshot in which no list is empty, and every text and id is secret
        secret = hide(FULL, lambda word: f"secret-{word}", lambda number: 0x7777 << 64 | number)
        assert {leaf[:2] for leaf in filled_leaves(secret)} == {leaf[:2] for leaf in leaves()}
        # When
        anonymous = anonymize(secret)
        # Then
        shown = msgspec.json.encode(anonymous).decode()
        assert SECRET.search(msgspec.json.encode(secret).decode())
        assert not SECRET.search(shown), SECRET.findall(shown)
        assert "7777" not in repr(anonymous)

    def test_common_words_stay(self) -> None:
        anonymous = anonymize(FULL)
        assert [each.name for each in anonymous.slot_types] == ["cpu", "mem", "cuda.shares", "slot-4"]
        assert [each.display_unit for each in anonymous.slot_types] == ["core", "", "", "unit-3"]
        plain = anonymize(make_data((make_agent("a", (1, 1, 1)),)))
        assert plain.agents[0].architecture == "x86_64"

    def test_an_id_is_the_same_wherever_it_stands(self) -> None:
        anonymous = anonymize(FULL)
        (session,) = anonymous.pending_sessions
        assert anonymous.unreadable[0].entity_id == str(session.dependencies[0].depends_on)
        assert anonymous.unreadable[1].entity_id == anonymous.scaling_group.name == "group-1"
        assert anonymous.reservations[0].session_id == session.session_id
        assert [agent.agent_id for agent in anonymous.agents] == ["agent-2", "agent-3"]
        assert session.failed_agent_ids == ("agent-5", "agent-3")
        assert anonymous.users[0].owner_id == session.user_id


@st.composite
def any_names(draw: st.DrawFn) -> SchedulingData:
    """A snapshot with names and ids in whatever order, as they come in a database."""
    data = draw(reserved_scheduling_data())
    key = draw(st.integers(1, 2**127 - 1)) | 1
    return hide(data, lambda word: f"{hash_of(word, key) % 97:02}-{word}", lambda number: number * key % 2**128)


def hash_of(word: str, key: int) -> int:
    return int.from_bytes(word.encode(), "big") * key >> 7


class TestDecisions:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(any_names())
    def test_they_are_the_same_under_other_names(self, data: SchedulingData) -> None:
        # When
        anonymous = anonymize(data)

        # Then a name is the same wherever it stands
        pairs = list(zip(names_in(data), names_in(anonymous), strict=True))
        new = {(kind, old): found for (kind, old), (_, found) in pairs}
        assert all(new[old] == found for old, (_, found) in pairs)

        # Then the decisions are
        assert plain_plan(BestFitPlanner().plan(anonymous)) == renamed_plan(BestFitPlanner().plan(data), new)
        reasons = [(each.reason, each.kernel_index) for each in waiting_reasons(data)]
        assert [(each.reason, each.kernel_index) for each in waiting_reasons(anonymous)] == reasons

        # Then so is the order of the names of each kind, by which ties are broken
        by_kind: dict[object, dict[str, str]] = {}
        for (kind, old), found in new.items():
            by_kind.setdefault(kind, {})[str(old)] = str(found)
        for each in by_kind.values():
            assert sorted(each.values()) == [each[old] for old in sorted(each)]

        # Then nothing but names and ids is another
        assert anonymize(anonymous) == anonymous

    def test_so_are_those_of_preemption(self) -> None:
        data = make_data(
            (make_agent("agent-0", (9, 9, 9)),),
            (make_session(1, (1, 1, 0), owners=(0, 1, 0, 0)),),
            preemption_scope=PreemptionScope.USER,
            preemption_candidates=tuple(
                make_candidate(50 - each, owners=(0, each % 2, 0, 0)) for each in range(4)
            ),
            access_keys=tuple(make_usage(key, slot_limits=(5, None, None)) for key in ACCESS_KEYS),
        )
        anonymous = anonymize(data)
        chosen = [
            [each.preemption_candidates.index(found) for found in preemptible(each.pending_sessions[0], each)]
            for each in (data, anonymous)
        ]
        assert chosen == [[1, 3], [1, 3]]
        owners = (anonymous.access_keys, anonymous.users, anonymous.projects, anonymous.domains)
        assert [len(each) for each in owners] == [len(each) for each in (ACCESS_KEYS, USERS, PROJECTS, DOMAINS)]
        assert anonymous.observed_at == OBSERVED_AT
