"""A time that was stored by a clock ahead of now's is not believed where it decides something."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import chain
from typing import Final, TypeAlias

import pytest

from scheduler_repo import Repositories, open_repositories
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.obstacles import Protection
from scheduler_repo.errors import LeaseHeld
from scheduler_repo.scheduling.rules.preemption import protection
from scheduler_repo.types import AgentId, LeaseHolder
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

Check: TypeAlias = Callable[[Repositories, Database], Awaitable[None]]

AHEAD: Final = "now() + interval '1 day'"
LONG_AGO: Final = "now() - interval '1 day'"
SILENCE: Final = timedelta(hours=1)
A1: Final = AgentId("a1")
ONE, OTHER = LeaseHolder("one"), LeaseHolder("other")


async def _is_lost_and_heard_again(repos: Repositories, database: Database) -> None:
    result = await repos.agents.mark_lost_agents(GROUP, SILENCE)
    assert result.changed == ("a1",)
    await repos.agents.record_heartbeats([A1])
    found = await repos.agents.get_agent(result.changed[0])
    assert found.heartbeat_at is not None
    assert found.heartbeat_at <= found.observed_at


async def _never_heard_is_lost(repos: Repositories, database: Database) -> None:
    await database.run_as(OWNER, "DELETE FROM agent_heartbeats")
    assert (await repos.agents.mark_lost_agents(GROUP, SILENCE)).changed == ("a1",)


async def _expires_and_may_be_preempted(repos: Repositories, database: Database) -> None:
    await database.run_as(
        OWNER,
        "UPDATE scaling_groups SET pending_timeout = '1 hour', preemption_scope = 'GROUP', "
        "preemption_min_runtime = '1 hour'; UPDATE sessions SET priority = 99 WHERE status = 'PENDING'",
    )
    data = await repos.scheduler.get_scheduling_data(GROUP)
    found = protection(data.pending_sessions[0], data.preemption_candidates[0], data)
    assert found is not Protection.MIN_RUNTIME
    assert (await repos.lifecycle.sweep_pending_sessions(GROUP)).changed == (session_id(1),)


async def _is_taken_over(repos: Repositories, database: Database) -> None:
    lease = await repos.leases.acquire_lease(GROUP, OTHER, timedelta(minutes=2))
    assert lease.holder == OTHER
    with pytest.raises(LeaseHeld):
        await repos.leases.acquire_lease(GROUP, ONE, timedelta(minutes=2))


async def _users_wish(repos: Repositories, database: Database) -> None:
    assert (await repos.scheduler.allocate_sessions(GROUP, [place(1, "a1")])).allocated == ()


CHECKS: Final[dict[str, Check]] = {
    "agent_heartbeats.heartbeat_at": _is_lost_and_heard_again,
    "agents.status_changed_at": _never_heard_is_lost,
    "sessions.status_changed_at": _expires_and_may_be_preempted,
    "scheduler_leases.acquired_at": _is_taken_over,
    "scheduler_leases.expires_at": _is_taken_over,
    "sessions.requested_start_at": _users_wish,
}
# These are shown, order what waits, or say how long something is kept at the least.
SHOWN: Final = {
    "agent_history.changed_at",
    "agents.created_at",
    "change_floor.folded_at",
    "change_floor.next_floor_at",
    "domains.created_at",
    "kernels.status_changed_at",
    "keypairs.created_at",
    "operations.created_at",
    "projects.created_at",
    "reservations.reserved_at",
    "scaling_groups.created_at",
    "session_history.changed_at",
    "sessions.created_at",
    "sessions.dispatched_at",
    "users.created_at",
    "vfolders.created_at",
}
# The statements in which the clock stands beside a stored time; any other writes the time, or answers it.
COMPARING: Final = {
    "acquire_lease",
    "check_lease",
    "expired_pending_sessions",
    "find_lease",
    "preemption_candidates",
    "record_heartbeats",
    "release_lease",
    "renew_lease",
    "silent_agents",
    "still_silent_agents",
}
CLOCK: Final = r"(?:statement_timestamp|clock_timestamp|now|transaction_timestamp)\(\)|current_timestamp"
COMPARED: Final = re.compile(rf"(?:[<>]=?|least\(.*|greatest\(.*| -) *(?:{CLOCK})|(?:{CLOCK}) *(?:[<>-])", re.I)


def small() -> ClusterSpec:
    return cluster([agent("a1")], [session(number, 1) for number in range(2)])


class TestTimesAfterNow:
    @pytest.mark.parametrize("place_of_time", CHECKS)
    async def test_are_not_believed(self, fresh_database: Database, place_of_time: str) -> None:
        table, column = place_of_time.split(".")
        async with open_repositories(fresh_database.url_as(SCHEDULER)) as repos:
            # given a cluster of a day ago, in which one session runs and one waits
            await repos.cluster.load_cluster(small())
            await repos.agents.record_heartbeats([A1])
            await repos.scheduler.allocate_sessions(GROUP, [place(0, "a1")])
            await repos.lifecycle.mark_preparing([session_id(0)])
            await repos.leases.acquire_lease(GROUP, ONE, timedelta(minutes=2))
            await fresh_database.run_as(
                OWNER,
                f"UPDATE sessions SET status = 'RUNNING' WHERE status = 'PREPARING';"
                f"UPDATE kernels SET status = 'RUNNING' WHERE status = 'PREPARING';"
                f"UPDATE sessions SET created_at = {LONG_AGO}, status_changed_at = {LONG_AGO};"
                f"UPDATE agents SET status_changed_at = {LONG_AGO}, created_at = {LONG_AGO};",
            )
            # when the time is one of a clock that was ahead; an expiry may be a day ahead by itself
            extra = " + interval '2 days'" if column == "expires_at" else ""
            await fresh_database.run_as(OWNER, f"UPDATE {table} SET {column} = {AHEAD}{extra}")
            # then
            await CHECKS[place_of_time](repos, fresh_database)

    async def test_a_session_made_by_such_a_clock_waits_from_when_it_is_first_looked_at(
        self, fresh_database: Database
    ) -> None:
        async with open_repositories(fresh_database.url_as(SCHEDULER)) as repos:
            # given
            await repos.cluster.load_cluster(small())
            await fresh_database.run_as(
                OWNER,
                f"UPDATE sessions SET created_at = {AHEAD}, status_changed_at = {AHEAD};"
                "UPDATE scaling_groups SET pending_timeout = '1 hour'",
            )
            # when
            assert (await repos.lifecycle.sweep_pending_sessions(GROUP)).changed == ()
            # then the hour has begun
            await fresh_database.run_as(
                OWNER,
                "UPDATE sessions SET status_changed_at = status_changed_at - interval '61 minutes'",
            )
            expired = await repos.lifecycle.sweep_pending_sessions(GROUP)
            assert expired.changed == (session_id(0), session_id(1))

    async def test_every_time_that_is_stored_is_looked_at(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(OWNER) as driver:
            rows = await driver.fetch(
                "SELECT table_name || '.' || column_name FROM information_schema.columns "
                "WHERE table_schema = 'public' AND data_type LIKE 'timestamp%'"
            )
        assert {row[0] for row in rows} == set(CHECKS) | SHOWN

    def test_every_statement_that_compares_with_the_clock_is_looked_at(self) -> None:
        files = chain(SQL_ROOT.glob("queries/**/*.sql"), SQL_ROOT.glob("audit/*.sql"))
        found = {file.stem for file in files if COMPARED.search(file.read_text(encoding="utf-8"))}
        assert found == COMPARING
