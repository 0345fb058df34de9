"""The first difference between two answers: whatever differs is found, and named."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import Optional
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.entities.scheduling_data import SchedulingData, SessionDependency
from scheduler_repo.entities.snapshot_comparison import SnapshotDifference
from scheduler_repo.entities.snapshot_token import ChangeHistory, ServerLife
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.deltas.comparison import find_difference
from scheduler_repo.steps import CHUNK_ROWS, finish
from scheduler_repo.types import AgentId, PreemptionScope, ResourcePolicyName, SessionId
from tests.support.strategies import (
    ACCESS_KEYS,
    OBSERVED_AT,
    X86,
    make_agent,
    make_candidate,
    make_data,
    make_reservation,
    make_session,
    make_usage,
)

_SESSION = make_session(
    7,
    (1, 2, 0),
    (3, 0, 1),
    architectures=(X86, X86),
    requested_start_at=OBSERVED_AT,
    designated=(AgentId("a1"), AgentId("a2")),
    dependencies=(SessionDependency(SessionId(UUID(int=9)), None, None),),
)
_MADE = make_data(
    (make_agent("a1", (5, 5, 5), max_containers=4), make_agent("a2", (5, 5, 5))),
    (msgspec.structs.replace(_SESSION, failed_agent_ids=(AgentId("a2"),)), make_session(8, (1, 0, 0))),
    reservations=(make_reservation(_SESSION, 3, "a1", "a2"),),
    preemption_scope=next(iter(PreemptionScope)),
    preemption_candidates=(make_candidate(20), make_candidate(21)),
    access_keys=tuple(
        msgspec.structs.replace(make_usage(key, (1, 1, 1), 2), resource_policy=ResourcePolicyName("some"))
        for key in ACCESS_KEYS
    ),
)
DATA = msgspec.structs.replace(
    _MADE,
    unreadable=(UnreadableRow("session", "s", "its status is UNHEARD_OF"),),
    token=msgspec.structs.replace(
        _MADE.token, history=ChangeHistory(1, 2, 3, ServerLife(UUID(int=5)), "triggers")
    ),
)


def difference(held: SchedulingData, read: SchedulingData) -> Optional[SnapshotDifference]:
    return finish(find_difference(held, read))


def altered(value: object) -> object:
    """A value that differs."""
    match value:
        case bool():
            return not value
        case Enum():
            return "altered"
        case int():
            return value + 1
        case str():
            return value + "x"
        case datetime():
            return value + timedelta(seconds=1)
        case timedelta():
            return value + timedelta(seconds=1)
        case UUID():
            return UUID(int=value.int + 1)
    assert value is None, f"no test alters {value!r} yet"
    return "altered"


def alterations(value: object) -> Iterator[tuple[str, object]]:
    """Every way of changing one leaf, or one item more or less: the last field's name, and what comes out."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            for name, changed in alterations(getattr(value, field)):
                yield name or field, msgspec.structs.replace(value, **{field: changed})
    elif isinstance(value, tuple):
        for at, item in enumerate(value):
            for name, changed in alterations(item):
                yield name, (*value[:at], changed, *value[at + 1 :])
            yield "", (*value[:at], *value[at + 1 :])
        if len({*value}) > 1:
            yield "", (*value[1:], value[0])
    else:
        yield "", altered(value)


class TestWhateverDiffers:
    def test_is_found_and_named(self) -> None:
        found = 0
        for field in SchedulingData.__struct_fields__:
            value = getattr(DATA, field)
            assert value != (), f"no test alters an item of {field} yet"
            for name, changed in alterations(value):
                other = msgspec.structs.replace(DATA, **{field: changed})
                for pair in ((DATA, other), (other, DATA)):
                    told = difference(*pair)
                    if field == "observed_at":
                        assert told is None
                        continue
                    assert told is not None, (field, name)
                    assert told.field == field
                    assert told.held != told.read
                    is_id = name.endswith("_id") or name in ("name", "depends_on")
                    assert is_id or name in (told.part or ""), (told, name)
                    found += 1
        assert found > 300

    def test_is_nothing_in_equal_answers(self) -> None:
        again = msgspec.structs.replace(DATA, observed_at=OBSERVED_AT + timedelta(seconds=1))
        assert difference(DATA, again) is None

    def test_is_found_behind_the_first_chunk(self) -> None:
        sessions = tuple(make_session(number, (1, 0, 0)) for number in range(1, CHUNK_ROWS + 3))
        told = difference(make_data((), sessions), make_data((), sessions[:-1]))
        assert told is not None
        assert told.item == str(sessions[-1].session_id)


class TestWords:
    @pytest.mark.parametrize(
        ("field", "changed", "words"),
        [
            (
                "pending_sessions",
                (msgspec.structs.replace(DATA.pending_sessions[0], priority=11), DATA.pending_sessions[1]),
                "pending_sessions, 00000000-0000-0000-0000-000000000007: priority is 10 as held, 11 as read",
            ),
            (
                "agents",
                (msgspec.structs.replace(DATA.agents[0], occupied=(0, 1, 0)), DATA.agents[1]),
                "agents, a1: occupied[1] is 0 as held, 1 as read",
            ),
            ("agents", DATA.agents[:1], "agents, a2 is there as held, absent as read"),
            ("agents", DATA.agents[::-1], "agents, a1 is at place 0 as held, at place 1 as read"),
            ("pending_limit", 5, "pending_limit is None as held, 5 as read"),
        ],
    )
    def test_of_a_difference(self, field: str, changed: object, words: str) -> None:
        assert str(difference(DATA, msgspec.structs.replace(DATA, **{field: changed}))) == words

    def test_are_short_and_hold_no_secret(self) -> None:
        session = DATA.pending_sessions[0]
        names = ("postgresql://me:hunter2@host/db", "n" * 100_000)
        told = [
            difference(
                DATA,
                msgspec.structs.replace(
                    DATA,
                    pending_sessions=(
                        msgspec.structs.replace(session, name=name),
                        *DATA.pending_sessions[1:],
                    ),
                ),
            )
            for name in names
        ]
        assert all(len(str(each)) < 400 for each in told)
        assert "hunter2" not in str(told[0])
