"""The tables of transitions are complete and lead somewhere; the README beside them draws them as they are."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from scheduler_repo.entities.transitions import (
    AGENT_TRANSITIONS,
    KERNEL_TRANSITIONS,
    SESSION_TRANSITIONS,
    TransitionTable,
    is_allowed,
    transition_diagram,
)
from scheduler_repo.types import FINISHED_STATUSES, OCCUPYING_STATUSES, AgentStatus, SessionStatus

README = Path(__file__).parents[2] / "scheduler_repo" / "scheduling" / "README.md"

of_each_entity = pytest.mark.parametrize(
    ("table", "initial"),
    [
        pytest.param(SESSION_TRANSITIONS, SessionStatus.PENDING, id="session"),
        pytest.param(KERNEL_TRANSITIONS, SessionStatus.PENDING, id="kernel"),
        pytest.param(AGENT_TRANSITIONS, AgentStatus.ALIVE, id="agent"),
    ],
)


def reachable(table: TransitionTable[StrEnum], initial: StrEnum) -> set[StrEnum]:
    found = {initial}
    to_visit = [initial]
    while to_visit:
        following = set(table[to_visit.pop()]) - found
        found |= following
        to_visit.extend(following)
    return found


class TestTables:
    @of_each_entity
    def test_every_status_is_named(self, table: TransitionTable[StrEnum], initial: StrEnum) -> None:
        assert list(table) == list(type(initial))

    @of_each_entity
    def test_every_status_can_be_reached(self, table: TransitionTable[StrEnum], initial: StrEnum) -> None:
        assert reachable(table, initial) == set(type(initial))

    @of_each_entity
    def test_none_follows_itself_or_another_twice(
        self, table: TransitionTable[StrEnum], initial: StrEnum
    ) -> None:
        for from_status, following in table.items():
            assert from_status not in following
            assert len(set(following)) == len(following)

    @of_each_entity
    def test_is_allowed_says_what_the_table_says(
        self, table: TransitionTable[StrEnum], initial: StrEnum
    ) -> None:
        allowed = {(one, other) for one in table for other in table if is_allowed(table, one, other)}
        assert allowed == {(one, other) for one, following in table.items() for other in following}

    @pytest.mark.parametrize("status", list(SessionStatus))
    def test_sessions_end_for_good_and_only_in_the_finished_statuses(self, status: SessionStatus) -> None:
        assert (SESSION_TRANSITIONS[status] == ()) == (status in FINISHED_STATUSES)

    @pytest.mark.parametrize("status", list(OCCUPYING_STATUSES))
    def test_sessions_that_occupy_can_end_and_go_back(self, status: SessionStatus) -> None:
        assert {SessionStatus.TERMINATED, SessionStatus.ERROR, SessionStatus.PENDING} <= set(
            SESSION_TRANSITIONS[status]
        )

    def test_only_allocation_leads_out_of_the_queue_to_an_agent(self) -> None:
        leading = [
            one for one in OCCUPYING_STATUSES if is_allowed(SESSION_TRANSITIONS, SessionStatus.PENDING, one)
        ]
        assert leading == [SessionStatus.SCHEDULED]
        into_scheduled = [
            one for one, following in SESSION_TRANSITIONS.items() if SessionStatus.SCHEDULED in following
        ]
        assert into_scheduled == [SessionStatus.PENDING]

    def test_tables_cannot_be_written_to(self) -> None:
        with pytest.raises(TypeError):
            SESSION_TRANSITIONS[SessionStatus.ERROR] = (SessionStatus.PENDING,)  # type: ignore[index] # is tested


class TestDiagrams:
    def test_every_transition_is_a_line(self) -> None:
        # given
        table = {AgentStatus.ALIVE: (AgentStatus.LOST, AgentStatus.DRAINING), AgentStatus.LOST: ()}
        # when
        diagram = transition_diagram(table, AgentStatus.ALIVE)
        # then
        assert diagram == (
            "stateDiagram-v2\n    [*] --> ALIVE\n    ALIVE --> LOST\n    ALIVE --> DRAINING\n    LOST --> [*]"
        )

    def test_the_readme_shows_those_of_sessions_and_agents_as_the_tables_are(self) -> None:
        # given
        blocks = re.findall(r"^```mermaid\n(.*?)\n```$", README.read_text(encoding="utf-8"), re.DOTALL | re.M)
        # when
        shown = [block for block in blocks if block.startswith("stateDiagram")]
        # then
        assert shown == [
            transition_diagram(SESSION_TRANSITIONS, SessionStatus.PENDING),
            transition_diagram(AGENT_TRANSITIONS, AgentStatus.ALIVE),
        ]
