"""Rows with words that only a newer version knows cost themselves at most, whatever is read or written."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.agent import AgentRejectionCode
from scheduler_repo.entities.allocation import KernelAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.lifecycle import LostSessionAction, TransitionRejectionCode
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.steps import finish
from scheduler_repo.types import AgentId, KernelId, SessionId
from tests.api.statement_table import CASES, fill_table
from tests.api.world import LARGE, World
from tests.support.checks import DROP_CHECKS
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, GROUP, PROJECT, USER, session_id

fill_table()

# One session for each of its columns, and one whose kernel, mount, history and so on are odd.
TYPE, MODE, STATUS, RESULT, REST, RUNNING, WAITING = (
    SessionId(UUID(int=10**9 + number)) for number in range(7)
)
ODD_STATUS, ODD_RETURN = AgentId("odd-status"), AgentId("odd-return")
FOLDER: Final = UUID(int=10**9)

_OWNED: Final = f"'{GROUP}', '{ACCESS_KEY}', '{USER}', '{PROJECT}', '{DOMAIN}'"
_OWNERS: Final = "scaling_group, access_key, user_id, project_id, domain_name"
_ROWS: Final = f"""
INSERT INTO scaling_groups (name) VALUES ('odd');
INSERT INTO agents (id, scaling_group, address, architecture)
    SELECT id, '{GROUP}', 'tcp://odd', 'x86_64'
    FROM unnest('{{{ODD_STATUS},{ODD_RETURN}}}'::text[]) AS given (id);
INSERT INTO agent_slots (agent_id, slot_name, capacity, occupied)
    SELECT id, 'cpu', 9, 1 FROM agents WHERE id LIKE 'odd-%';
INSERT INTO agent_heartbeats SELECT id, '2026-01-01 00:00:00+00' FROM agents WHERE id = '{ODD_RETURN}';
INSERT INTO agent_history (agent_id, from_status, to_status) VALUES ('{LARGE}', 'PAUSED', 'ALIVE'),
    ('{LARGE}', 'ALIVE', 'PAUSED');
INSERT INTO sessions (id, name, session_type, cluster_mode, status, result, has_dependencies, {_OWNERS}) VALUES
    ('{TYPE}', 'odd', 'PAUSED', 'MULTI_NODE', 'PENDING', NULL, false, {_OWNED}),
    ('{MODE}', 'odd', 'BATCH', 'PAUSED', 'PENDING', NULL, false, {_OWNED}),
    ('{STATUS}', 'odd', 'BATCH', 'MULTI_NODE', 'PAUSED', NULL, false, {_OWNED}),
    ('{RESULT}', 'odd', 'BATCH', 'MULTI_NODE', 'TERMINATED', 'PAUSED', false, {_OWNED}),
    ('{REST}', 'odd', 'BATCH', 'MULTI_NODE', 'PENDING', NULL, false, {_OWNED}),
    ('{RUNNING}', 'odd', 'PAUSED', 'PAUSED', 'RUNNING', NULL, false, {_OWNED}),
    ('{WAITING}', 'odd', 'BATCH', 'MULTI_NODE', 'PENDING', NULL, true, {_OWNED});
INSERT INTO kernels (id, session_id, kernel_index, status, agent_id, requested_slots, {_OWNERS})
    SELECT id, id, 0, CASE id WHEN '{REST}' THEN 'PAUSED' WHEN '{RUNNING}' THEN 'RUNNING' ELSE 'PENDING' END,
           CASE id WHEN '{RUNNING}' THEN '{ODD_STATUS}' WHEN '{REST}' THEN '{LARGE}' END, '{{1}}', {_OWNERS}
    FROM sessions WHERE name = 'odd';
UPDATE agents SET container_count = 1 WHERE id = '{ODD_STATUS}';
INSERT INTO session_dependencies VALUES ('{WAITING}', '{STATUS}'), ('{WAITING}', '{RESULT}');
INSERT INTO vfolders (id, name, host, user_id) VALUES ('{FOLDER}', 'odd', 'nfs', '{USER}');
INSERT INTO session_vfolder_mounts VALUES ('{REST}', '{FOLDER}', '/odd', 'PAUSED');
INSERT INTO session_history (session_id, from_status, to_status)
    VALUES ('{REST}', 'PAUSED', 'PENDING'), ('{REST}', 'PENDING', 'PAUSED');
INSERT INTO scaling_group_grants VALUES ('PAUSED', 'odd', '{GROUP}');
INSERT INTO quotas (scope, owner_id) VALUES ('PAUSED', 'odd');
UPDATE scaling_groups SET preemption_scope = 'PAUSED' WHERE name IN ('odd', '{GROUP}');
UPDATE agents SET status = 'PAUSED' WHERE id = '{ODD_STATUS}';
UPDATE agents SET returns_as = 'PAUSED' WHERE id = '{ODD_RETURN}';
"""
ODD_COLUMNS: Final = {
    "agent_history.from_status",
    "agent_history.to_status",
    "agents.returns_as",
    "agents.status",
    "kernels.status",
    "quotas.scope",
    "scaling_group_grants.scope",
    "scaling_groups.preemption_scope",
    "session_history.from_status",
    "session_history.to_status",
    "session_vfolder_mounts.permission",
    "sessions.cluster_mode",
    "sessions.result",
    "sessions.session_type",
    "sessions.status",
}
# The columns whose CHECK lists words.
_WORD_COLUMNS: Final = r"""
SELECT DISTINCT c.conrelid::regclass || '.' || a.attname
FROM pg_constraint AS c
JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum > 0
WHERE c.contype = 'c' AND c.connamespace = 'public'::regnamespace
  AND pg_get_constraintdef(c.oid) ~ ('[ (]' || a.attname || ' = ANY \(\(?ARRAY\[')
"""


def counted() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "scheduler_repo_unreadable_rows"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


class TestBeside:
    @pytest.fixture
    async def world(self, fresh_database: Database) -> AsyncIterator[World]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
        world = World(engine)
        await world.settle()
        await fresh_database.run_as(ADMIN, DROP_CHECKS)
        await fresh_database.run_as(ADMIN, _ROWS)
        yield world
        await engine.dispose()

    async def test_every_word_of_the_schema_is_odd(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(ADMIN) as driver:
            rows = await driver.fetch(_WORD_COLUMNS)
        assert {row[0] for row in rows} == ODD_COLUMNS

    async def test_every_method_does_its_work(self, world: World) -> None:
        before = counted()
        failed = {}
        for case in CASES.values():
            await world.recover()
            # A group whose own word is odd cannot be answered alone.
            await world.preempt_in_scope(None)
            try:
                await (await case.prepare(world, 1))
            except Exception as error:  # noqa: BLE001 - each failure is named below
                failed[case.label] = repr(error)
        assert failed == {}
        assert counted() > before

    async def test_a_tick_places_the_others_and_names_these(self, world: World) -> None:
        (number,) = await world.pending(1)
        scheduler = SchedulerRepository(SchedulerDBSource(world.engine))
        before = counted()
        # when
        data = await scheduler.get_scheduling_data(GROUP)
        # then
        assert {row.entity_id for row in data.unreadable} == {*map(str, (TYPE, MODE, STATUS, RESULT)), GROUP}
        assert all("PAUSED" in row.problem for row in data.unreadable)
        assert counted() == before + 5
        assert data.scaling_group.preemption_scope is None
        assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data
        reasons = {each.session_id: each.reason for each in waiting_reasons(data)}
        assert reasons[WAITING] is WaitingReason.DEPENDENCY_NOT_MET
        assert not {TYPE, MODE} & reasons.keys()
        # when a plan is written together with what another version would have planned
        odd = [
            SessionAllocation(each, (KernelAllocation(KernelId(each), AgentId(LARGE)),))
            for each in (TYPE, STATUS)
        ]
        plan = BestFitPlanner().plan(data)
        result = await scheduler.allocate_sessions(GROUP, [*odd, *plan])
        # then
        assert session_id(number) in result.allocated
        assert {each.session_id: each.code for each in result.rejected} == {
            TYPE: RejectionCode.UNKNOWN_WORD,
            STATUS: RejectionCode.UNKNOWN_WORD,
        }

    async def test_batches_reject_these_and_change_the_others(self, world: World) -> None:
        (number,) = await world.pending(1)
        lifecycle = LifecycleRepository(LifecycleDBSource(world.engine))
        agents = AgentRepository(AgentDBSource(world.engine))
        # when
        ended = await lifecycle.mark_cancelled([STATUS, session_id(number)])
        drained = await agents.drain_agents([ODD_STATUS, AgentId(LARGE)])
        heard = await agents.record_heartbeats([ODD_STATUS, AgentId(LARGE)])
        # then
        assert ended.changed == (session_id(number),)
        assert [each.code for each in ended.rejected] == [TransitionRejectionCode.UNKNOWN_WORD]
        assert drained.changed == (LARGE,)
        assert [each.code for each in drained.rejected] == [AgentRejectionCode.UNKNOWN_WORD]
        assert heard.recorded == (ODD_STATUS, LARGE)
        # and a session whose kernels are on an agent that is lost goes, though its type is not known
        await world.lose([ODD_STATUS])
        recovered = await lifecycle.recover_lost_sessions(GROUP, LostSessionAction.REQUEUE)
        assert recovered.requeued == (RUNNING,)

    async def test_pages_name_these(self, world: World) -> None:
        await world.pending(3)
        sessions = SessionRepository(SessionDBSource(world.engine))
        agents = AgentRepository(AgentDBSource(world.engine))
        page = await sessions.search_sessions(limit=2)
        found, named = [*page.items], [*page.unreadable]
        while page.next_cursor is not None:
            page = await sessions.search_sessions(limit=2, cursor=page.next_cursor)
            found += page.items
            named += page.unreadable
        assert sorted(row.entity_id for row in named) == sorted(map(str, (TYPE, STATUS, RESULT, RUNNING)))
        assert {each.session_id for each in found} >= {MODE, REST, WAITING}
        assert len(found) == 6
        assert [row.entity_id for row in (await agents.search_agents()).unreadable] == [ODD_STATUS]
