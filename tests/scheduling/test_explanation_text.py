"""An explanation in words and tables of words."""

from datetime import timedelta
from uuid import UUID

import msgspec

from scheduler_repo.cli.output.amounts import format_amount
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData, SessionDependency
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.scheduling.explain.session import SessionExplanation, explain_session
from scheduler_repo.scheduling.explain.text import (
    Fact,
    TextTable,
    explanation_tables,
    queue_facts,
    reason_facts,
)
from scheduler_repo.types import (
    AgentId,
    Architecture,
    ClusterMode,
    SessionId,
    SessionResult,
    SessionStatus,
)
from tests.support.strategies import (
    ACCESS_KEYS,
    ARM,
    OBSERVED_AT,
    PROJECTS,
    USERS,
    X86,
    make_agent,
    make_data,
    make_reservation,
    make_session,
    make_usage,
)


class TestText:
    """Snapshots as a person reads them."""

    agents = (
        make_agent("a", (4000, 64, 2000), (1500, 0, 2500), running=1, max_containers=3),
        make_agent("b", (8000, 64, 1000), (8000, 16, 1250), architecture=ARM),
    )

    def explained(self, data: SchedulingData, number: int) -> tuple[SessionExplanation, SchedulingData]:
        return explain_session(data, SessionId(UUID(int=number))), data

    def tables_of(self, session: PendingSession) -> tuple[TextTable, ...]:
        data = make_data(self.agents, (session,))
        return explanation_tables(explain_session(data, session.session_id))

    def turn_of(self, data: SchedulingData, number: int) -> str:
        facts = dict(queue_facts(*self.explained(data, number)))
        return facts["its turn"]

    def test_agents_that_are_over_their_capacity(self) -> None:
        (node, *_) = self.tables_of(make_session(1, (3000, 32, 500), (500, 0, 250)))
        assert node.title == (
            "its 2 kernels together on one agent: of 2 agents, 2 candidates; all of it fits on 0"
        )
        assert node.columns == ("asks for", "", "fits on", "most free", "missing", "on agent")
        assert node.rows == (
            ("cpu", "3.5 core", "0", "2.5 core", "1 core", "a"),
            ("mem", "32", "2", "64", "-", "a"),
            ("cuda.shares", "0.75", "0", "-0.25", "1", "b"),
            ("containers", "2", "2", "no limit", "-", "b"),
        )

    def test_amounts_below_nothing_keep_their_sign(self) -> None:
        session = make_session(1, (1, 1, 250))
        explanation = explain_session(make_data(self.agents, (session,)), session.session_id)
        (node, *_) = explanation_tables(explanation, format_amount)
        assert node.rows[2] == ("cuda.shares", "0.25", "0", "-0.25", "0.5", "b")

    def test_what_is_rounded_is_missing_to_the_last_unit(self) -> None:
        session = make_session(1, (1000, 100))
        explanation = explain_session(make_data(self.agents, (session,)), session.session_id)
        (node, *_) = explanation_tables(explanation, lambda amount, slot_type: "about")
        assert node.rows[1] == ("mem", "about", "0", "about", "36", "a")

    def test_an_architecture_that_no_agent_has(self) -> None:
        (node, *_) = self.tables_of(make_session(1, (1000, 1), architectures=(Architecture("riscv64"),)))
        assert node.title == "kernel 0 on an agent of riscv64: of 2 agents, 0 candidates; all of it fits on 0"
        assert node.rows == (
            ("cpu", "1 core", "0", "-", "1 core", "-"),
            ("mem", "1", "0", "-", "1", "-"),
            ("containers", "1", "0", "-", "1", "-"),
        )

    def test_kernels_that_ask_for_the_same_share_a_table(self) -> None:
        session = make_session(
            1,
            *[(1000, 1)] * 4,
            (2000, 1),
            cluster_mode=ClusterMode.MULTI_NODE,
            architectures=(X86, X86, X86, X86, None),
        )
        first, second, *_ = self.tables_of(session)
        assert first.title == (
            "each of the kernels 0, 1, 2 and 1 more on an agent of x86_64: of 2 agents, 1 candidates; "
            "all of it fits on 1"
        )
        assert first.rows[-1] == ("containers", "1", "1", "2", "-", "a")
        assert second.title == "kernel 4 on an agent: of 2 agents, 2 candidates; all of it fits on 1"

    def test_a_slot_that_nobody_knows(self) -> None:
        (node, *_) = self.tables_of(make_session(1, (0, 0, 0, 0, 7)))
        assert node.rows[0] == ("slot index 4", "7", "0", "0", "7", "a")

    def test_limits(self) -> None:
        # Given
        key = make_usage(ACCESS_KEYS[0], session_count=2, max_concurrent_sessions=2, max_kernels_per_session=1)
        project = make_usage(PROJECTS[0], (2500, 9, 0), slot_limits=(4000, 5))
        session = make_session(1, (1750, 0))
        data = make_data(self.agents, (session,), access_keys=(key,), projects=(project,))

        # When
        _, *owners, _ = explanation_tables(explain_session(data, session.session_id))

        # Then
        assert [table.title for table in owners] == [
            "access key key-a",
            f"user {USERS[0]}: no limits",
            f"project {PROJECTS[0]}",
            "domain domain-a: no limits",
        ]
        assert owners[0].rows == (
            ("kernels per session", "0", "1", "1", "passes"),
            ("sessions", "2", "1", "2", "1 above"),
        )
        assert owners[1].rows == ()
        assert owners[2].rows == (
            ("cpu", "2.5 core", "1.75 core", "4 core", "0.25 core above"),
            ("mem", "9", "0", "5", "passes"),
        )

    def test_dependencies(self) -> None:
        ids = [SessionId(UUID(int=number)) for number in (5, 6, 7, 8)]
        dependencies = (
            SessionDependency(ids[0], SessionStatus.TERMINATED, SessionResult.SUCCESS),
            SessionDependency(ids[1], SessionStatus.RUNNING, None),
            SessionDependency(ids[2], SessionStatus.CANCELLED, SessionResult.FAILURE),
            SessionDependency(ids[3], None, None),
        )
        *_, table = self.tables_of(make_session(1, (1, 1), dependencies=dependencies))
        assert table.rows == (
            (str(ids[0]), "TERMINATED, SUCCESS", "met"),
            (str(ids[1]), "RUNNING", "not yet met"),
            (str(ids[2]), "CANCELLED, FAILURE", "can never be met"),
            (str(ids[3]), "no longer exists", "can never be met"),
        )
        *_, none = self.tables_of(make_session(1, (1, 1)))
        assert none == TextTable("depends on no session")

    def test_designated_agents(self) -> None:
        designated = (AgentId("a"), AgentId("gone"))
        data = make_data(self.agents, (make_session(1, (5000, 1), designated=designated),))
        reason, *agents = reason_facts(*self.explained(data, 1))
        assert reason.label == "why it waits"
        assert reason.text.startswith(
            "LARGER_THAN_ANY_AGENT: no candidate agent, even empty, is large enough for cpu 5 core"
        )
        assert agents == [
            Fact("designated agent", "a: takes kernels"),
            Fact("designated agent", "gone: takes no kernels in this group"),
        ]

    def test_place(self) -> None:
        # Given
        later = OBSERVED_AT + timedelta(hours=2)
        sessions = (make_session(1, (9000, 1)), make_session(2, (1, 1), requested_start_at=later))
        data = msgspec.structs.replace(make_data(self.agents, sessions), pending_limit=2)

        # When
        facts = queue_facts(*self.explained(data, 2))

        # Then
        assert facts == (
            Fact("in the queue", "2 of 2 read (at most 2), 1 session ahead; priority 10"),
            Fact("created at", "2030-01-01 11:00:00.000+00:00, 1:00:00 ago"),
            Fact("not before", "2030-01-01 14:00:00.000+00:00: not reached"),
        )

    def test_a_clock_that_was_ahead(self) -> None:
        session = msgspec.structs.replace(
            make_session(1, (9000, 1)), created_at=OBSERVED_AT + timedelta(seconds=90)
        )
        facts = dict(queue_facts(*self.explained(make_data(self.agents, (session,)), 1)))
        assert facts["created at"].endswith("+00:00, 0:01:30 ahead of the database's clock")

    def test_the_first_is_placed(self) -> None:
        data = make_data(self.agents, (make_session(1, (2500, 1)),))
        assert self.turn_of(data, 1) == "a plan of this queue places it on a"

    def test_a_later_one_is_placed_after_others(self) -> None:
        sessions = (make_session(1, (1000, 1)), make_session(2, (9000, 1)), make_session(3, (1500, 1)))
        data = make_data(self.agents, sessions)
        assert self.turn_of(data, 3) == "a plan of this queue places 1 session before it, then this one on a"

    def test_those_ahead_take_the_room(self) -> None:
        sessions = (make_session(1, (1000, 1)), make_session(2, (9000, 1)), make_session(3, (2000, 1)))
        data = make_data(self.agents, sessions)
        assert self.turn_of(data, 3) == (
            "fits now if it were first, but a plan places 1 session before it, which leaves too little; then "
            "NOT_ENOUGH_FREE: no agent has free at once cpu 2 core (most on one agent: 1.5 core)"
        )

    def test_those_ahead_take_the_quota(self) -> None:
        sessions = (make_session(1, (500, 1)), make_session(2, (500, 1)))
        usage = make_usage(ACCESS_KEYS[0], session_count=1, max_concurrent_sessions=2)
        data = make_data(self.agents, sessions, access_keys=(usage,))
        assert self.turn_of(data, 2).endswith(
            "then SESSION_QUOTA: sessions of access key key-a at once are limited to 2; it has 2"
        )

    def test_those_ahead_take_the_slots_of_the_quota(self) -> None:
        usage = make_usage(PROJECTS[0], (500, 0, 0), slot_limits=(1400,))
        data = make_data(self.agents, (make_session(1, (500, 1)), make_session(2, (500, 1))), projects=(usage,))
        assert self.turn_of(data, 2).endswith(
            f"then SLOT_QUOTA: project {PROJECTS[0]} occupies 1 core of cpu; "
            "0.5 core more would pass its limit of 1.4 core"
        )

    def test_those_ahead_take_the_containers(self) -> None:
        agents = (make_agent("a", (9000, 9, 9), running=1, max_containers=3),)
        sessions = (make_session(1, (1, 1), (1, 1)), make_session(2, (1, 1)))
        assert self.turn_of(make_data(agents, sessions), 2).endswith("containers 1 (most on one agent: 0)")

    def test_what_is_reserved_is_not_free(self) -> None:
        # Given
        sessions = (make_session(1, (2000, 1)), make_session(2, (2000, 8)))
        reservations = (make_reservation(sessions[1], 1, "a"),)
        explanation = explain_session(
            make_data(self.agents, sessions, reservations=reservations), sessions[0].session_id
        )

        # When
        (node, *_) = explanation_tables(explanation)

        # Then
        assert node.rows == (
            ("cpu", "2 core", "0", "0.5 core", "1.5 core", "a"),
            ("mem", "1", "2", "56", "-", "a"),
            ("containers", "1", "2", "no limit", "-", "b"),
        )

    def test_one_with_a_reservation_goes_first(self) -> None:
        sessions = (make_session(1, (500, 1)), make_session(2, (2000, 1)))
        reservations = (make_reservation(sessions[1], 1, "a"),)
        usage = make_usage(ACCESS_KEYS[0], session_count=1, max_concurrent_sessions=2)
        data = make_data(self.agents, sessions, reservations=reservations, access_keys=(usage,))
        assert self.turn_of(data, 2) == "a plan of this queue places it on a"
        assert self.turn_of(data, 1) == (
            "fits now if it were first, but a plan places 1 session before it, which leaves too little; then "
            "SESSION_QUOTA: sessions of access key key-a at once are limited to 2; it has 2"
        )

    def test_containers_that_are_reserved_are_not_free(self) -> None:
        sessions = (make_session(1, (1, 1), (1, 1)), make_session(2, (1, 1)))
        agents = (make_agent("a", (9, 9, 9), max_containers=2),)
        data = make_data(agents, sessions, reservations=(make_reservation(sessions[1], 1, "a"),))
        (node, *_) = explanation_tables(explain_session(data, sessions[0].session_id))
        assert node.title.endswith("1 candidates; all of it fits on 0")
        assert node.rows[-1] == ("containers", "2", "0", "1", "1", "a")

    def test_what_was_reserved_is_taken_once(self) -> None:
        sessions = (make_session(1, (4000, 1)), make_session(2, (3000, 1)), make_session(3, (2500, 1)))
        reservations = (make_reservation(sessions[1], 1, "a"),)
        data = make_data((make_agent("a", (9000, 9, 9)),), sessions, reservations=reservations)
        assert self.turn_of(data, 3) == (
            "fits now if it were first, but a plan places 2 sessions before it, which leaves too little; then "
            "NOT_ENOUGH_FREE: no agent has free at once cpu 2.5 core (most on one agent: 2 core)"
        )

    def test_bytes(self) -> None:
        session = make_session(1, (1000, 2**33))
        data = make_data((make_agent("a", (4000, 2**32, 0)),), (session,))
        in_bytes = tuple(
            SlotType(each.name, each.slot_index, 1, "B") if each.slot_index == 1 else each
            for each in data.slot_types
        )
        explanation = explain_session(msgspec.structs.replace(data, slot_types=in_bytes), session.session_id)
        assert explanation_tables(explanation)[0].rows[1] == ("mem", "8 GiB", "0", "4 GiB", "4 GiB", "a")
