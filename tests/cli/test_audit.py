"""``scheduler-repo audit``."""

import asyncio
import re
from typing import Optional

import asyncpg
import msgspec
import pytest

from scheduler_repo.entities.audit import AuditCheck, AuditReport, RepairReport
from tests.support.command import Command, CommandHere, Ended
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database

# The agent that the most kernels are on, and one of these.
BUSIEST = "(SELECT id FROM agents ORDER BY container_count DESC, id LIMIT 1)"
ONE_KERNEL = f"(SELECT id FROM kernels WHERE agent_id = {BUSIEST} ORDER BY id LIMIT 1)"
COUNTER = f"UPDATE agent_slots SET occupied = 0 WHERE agent_id = {BUSIEST} AND slot_name = 'cpu'"
STATUS = f"UPDATE kernels SET status = 'RUNNING' WHERE id = {ONE_KERNEL}"


class Answer(AuditReport, frozen=True, kw_only=True):
    """What programs rely on."""

    repair: Optional[RepairReport]


def answer(ended: Ended) -> Answer:
    return msgspec.json.decode(ended.output, type=Answer)


def without_ages(output: str) -> str:
    return re.sub(r"(the last \w+) .*", r"\1", output)


def ask(database: Database, query: str) -> asyncpg.Record:
    """The one row."""

    async def fetch() -> asyncpg.Record:
        async with database.driver_as(OWNER) as connection:
            return await connection.fetchrow(query)

    return asyncio.run(fetch())


def write(database: Database, script: str, role: str = OWNER) -> None:
    asyncio.run(database.run_as(role, script))


class OnACluster:
    @pytest.fixture
    def arguments(self, placed_database: Database) -> tuple[str, ...]:
        """Those of an audit of a cluster in which some sessions are placed and others wait."""
        return ("audit", "--database-url", placed_database.url_as(SCHEDULER))


class TestAudit(OnACluster):
    def test_a_clean_database_is_said_to_be_clean(
        self, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        ended = command_here.run(*arguments)
        assert (ended.code, ended.errors) == (0, "")
        line, *logs = ended.output.splitlines()
        assert line.startswith(f"audited {len(AuditCheck)} checks at 20")
        assert line.endswith("+00:00: nothing differs")
        assert len(logs) == 2
        assert max(len(each) for each in (line, *logs)) <= 80

    def test_the_logs_of_changes_are_measured(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given
        usage, changes = ask(
            placed_database, "SELECT (SELECT count(*) FROM usage_log), (SELECT count(*) FROM change_log)"
        )
        write(
            placed_database,
            "SELECT fold_usage(); UPDATE sessions SET status = 'ERROR' WHERE id = (SELECT id FROM sessions"
            " WHERE status = 'SCHEDULED' LIMIT 1); SET scheduler_repo.keeps_changes = 'on';"
            "UPDATE change_floor SET folded_at = now() - interval '90 minutes',"
            " next_floor_at = now() + interval '1 day'",
        )
        # when
        shown, told = command_here.run(*arguments), answer(command_here.run(*arguments, "--json"))
        # then
        folded, trimmed = shown.output.splitlines()[-2:]
        assert folded.startswith(f"usage_log: {usage + 1:,} rows, 1 not folded, the last fold 1:30:")
        assert trimmed.startswith(f"change_log: {changes + 1:,} rows, the last trim at 20")
        assert (told.logs.unfolded_rows, told.logs.usage_rows) == (1, usage + 1)
        assert told.logs.change_rows == changes + 1
        assert told.logs.folded_at < told.observed_at < told.logs.trimmed_at

    def test_each_difference_is_shown_in_a_pipe(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given
        kernel, agent, held = ask(
            placed_database,
            f"SELECT {ONE_KERNEL}, agent_id, occupied FROM agent_slots"
            f" WHERE agent_id = {BUSIEST} AND slot_name = 'cpu'",
        )
        write(placed_database, f"{STATUS}; {COUNTER}")
        # when
        ended = command_here.run(*arguments)
        # then
        assert ended.code == 1
        assert ended.output == (
            f"agent {agent}: occupied cpu\n"
            f"  expected: {held}\n"
            "  found:    0\n"
            "  check:    agent_slots_occupied\n"
            f"kernel {kernel}: status\n"
            "  expected: SCHEDULED\n"
            "  found:    RUNNING\n"
            "  check:    kernel_statuses\n"
        ) + "".join(f"{line}\n" for line in ended.output.splitlines()[-2:])
        assert ended.error_line == (
            "error: 2 findings; mend the agents' counters with --repair, the rest by hand"
        )

    async def test_on_a_terminal_it_is_the_same(
        self, command: Command, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        await placed_database.run_as(OWNER, f"{STATUS}; {COUNTER}")
        shown, piped = command.run_on_terminal(*arguments), command.run(*arguments)
        assert shown.code == piped.code == 1
        assert without_ages(shown.output) == without_ages(piped.output + piped.errors)
        assert max(len(line) for line in shown.output.splitlines()) <= 80

    def test_a_name_cannot_forge_a_line(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given
        write(
            placed_database,
            "INSERT INTO agents (id, scaling_group, address, architecture, container_count)"
            " VALUES (E'a\\nagent b: \\x1b[2J', 'batch', '', 'x86_64', 1)",
        )
        # when
        ended = command_here.run(*arguments)
        # then
        assert ended.output.splitlines()[0] == r"agent a\nagent b: \x1b[2J: container_count"


class TestRepair(OnACluster):
    def test_usage_is_mended(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        write(
            placed_database,
            "SELECT fold_usage(); SET scheduler_repo.keeps_changes = 'on'; DELETE FROM owner_usage",
        )
        found, mended = (command_here.run(*arguments, *options) for options in ((), ("--repair",)))
        assert found.error_line.endswith("mend the owners' usage with --repair, the rest by hand")
        assert (mended.code, mended.errors) == (0, "")

    def test_counters_are_mended_and_said(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given
        agent, containers = ask(placed_database, f"SELECT id, container_count FROM agents WHERE id = {BUSIEST}")
        write(placed_database, f"UPDATE agents SET container_count = 99 WHERE id = '{agent}'")
        # when
        ended, again = (command_here.run(*arguments, "--repair") for _ in range(2))
        # then
        assert (ended.code, ended.errors) == (0, "")
        *mended, number, clean, _usage_log, _change_log = ended.output.splitlines()
        assert mended == [
            f"agent {agent}: container_count mended",
            "  before:   99",
            f"  after:    {containers}",
        ]
        assert number == "mended 1 counter"
        assert "nothing differs" in clean
        assert again.code == 0
        assert again.output.splitlines()[0] == "mended 0 counters"

    def test_what_is_left_is_shown(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given a kernel that holds more than its agent has
        most = 2**50
        agent, capacity, occupied, given = ask(
            placed_database,
            "SELECT agent_id, capacity, occupied,"
            f" (SELECT occupied_slots[1] FROM kernels WHERE id = {ONE_KERNEL}) FROM agent_slots"
            f" WHERE agent_id = {BUSIEST} AND slot_name = 'cpu'",
        )
        write(placed_database, f"UPDATE kernels SET occupied_slots[1] = {most} WHERE id = {ONE_KERNEL}")
        # when
        ended = command_here.run(*arguments, "--repair")
        # then
        held = occupied - given + most
        assert ended.code == 1
        assert ended.output.startswith(
            f"agent {agent}: occupied cpu not mended\n"
            "  because:  its kernels hold more than its capacity\n"
            f"  counter:  {occupied}\n"
            f"  kernels:  {held}\n"
            f"  limit:    {capacity}\n"
            "mended 0 counters\n"
            f"agent {agent}: occupied cpu\n"
            f"  expected: {held}\n"
        )
        assert ended.error_line.startswith("error: 3 findings; mend them by hand; sql/audit has")

    async def test_a_row_that_another_has_locked_is_named(
        self, command_here: CommandHere, placed_database: Database
    ) -> None:
        arguments = "audit", "--repair", "--database-url", placed_database.url_as(SCHEDULER)
        async with placed_database.driver_as(OWNER) as writer:
            await writer.execute(COUNTER)
            async with writer.transaction():
                agent = await writer.fetchval(f"SELECT id FROM agents WHERE id = {BUSIEST} FOR UPDATE")
                pid = writer.get_server_pid()
                # when
                ended = await asyncio.to_thread(
                    command_here.run, *arguments, SCHEDULER_REPO_BATCH_LOCK_TIMEOUT="0.05"
                )
        # then
        assert ended.code == 1
        assert ended.output.startswith(
            f"agent {agent}: occupied cpu not mended\n"
            f"  because:  row {agent} of agents is locked by process {pid}; "
            "repair again when that transaction has ended\n"
            "  counter:  0\n"
        )

    def test_a_reader_is_told_what_it_lacks(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        write(placed_database, COUNTER)
        ended = command_here.run("audit", "--repair", "--database-url", placed_database.url_as(READER))
        assert (ended.code, ended.output) == (1, "")
        assert "the role lacks the privilege; see sql/grants.sql" in ended.error_line

    def test_a_database_that_only_reads_is_audited_and_not_mended(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        name = placed_database.name
        write(placed_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on", ADMIN)
        looked, mended = command_here.run(*arguments), command_here.run(*arguments, "--repair")
        assert looked.code == 0
        assert mended.code == 1
        assert "the database is read-only" in mended.error_line


class TestJson(OnACluster):
    def test_it_is_one_object(
        self, command_here: CommandHere, arguments: tuple[str, ...], placed_database: Database
    ) -> None:
        # given
        clean = command_here.run(*arguments, "--json")
        write(placed_database, f"{STATUS}; {COUNTER}")
        # when
        found = command_here.run(*arguments, "--json")
        mended = command_here.run(*arguments, "--json", "--repair")
        # then
        assert (clean.code, clean.errors) == (0, "")
        assert answer(clean).findings == ()
        assert answer(clean).checks_run == len(AuditCheck)
        assert (found.code, mended.code) == (1, 1)
        assert answer(found).repair is None
        checks = [finding.check for finding in answer(found).findings]
        assert checks == [AuditCheck.AGENT_SLOTS_OCCUPIED, AuditCheck.KERNEL_STATUSES]
        (left,) = answer(mended).findings
        assert left.check is AuditCheck.KERNEL_STATUSES
        repair = answer(mended).repair
        assert repair is not None
        assert [(each.slot_name, each.before) for each in repair.repaired] == [("cpu", 0)]
        assert mended.error_line.startswith("error: 1 finding; mend them by hand")


class TestUsage:
    def test_help_fits_a_terminal(self, command_here: CommandHere) -> None:
        ended = command_here.run("audit", "--help", COLUMNS="200")
        assert (ended.code, ended.errors) == (0, "")
        assert max(len(line) for line in ended.output.splitlines()) <= 80

    def test_it_is_listed(self, command_here: CommandHere) -> None:
        assert "  audit  " in command_here.run("--help").output

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--repiar"], "Did you mean '--repair'?"),
            (["--jsn"], "'--json'"),
            (["batch"], "unexpected extra argument"),
            ([], "give --database-url or set SCHEDULER_REPO_DATABASE_URL"),
        ],
    )
    def test_wrong_usage_is_named(self, command_here: CommandHere, arguments: list[str], expected: str) -> None:
        ended = command_here.run("audit", *arguments)
        assert (ended.code, ended.output) == (2, "")
        assert expected in ended.error_line
        assert "See 'scheduler-repo audit --help'." in ended.error_line

    def test_the_environment_names_the_database(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        ended = command_here.run("audit", SCHEDULER_REPO_DATABASE_URL=migrated_database.url_as(READER))
        assert ended.code == 0

    def test_a_schema_that_is_missing_is_named(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        ended = command_here.run("audit", "--database-url", empty_database.url_as(SCHEDULER))
        assert ended.code == 1
        assert "run: scheduler-repo db upgrade" in ended.error_line
