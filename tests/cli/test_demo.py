"""The demo, as a person or a script runs it."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client import REGISTRY

from scheduler_repo.workload.synthetic import synthetic_cluster
from tests.support.command import Command, CommandHere, Ended
from tests.support.databases import ADMIN, READER, SCHEDULER, Database
from tests.support.observation import PROJECT_ROOT, free_port
from tests.support.trace_location import needs_trace, trace_directory, write_trace
from tests.support.waiting import PATIENCE

SMALL = ("--agents", "20", "--sessions", "300")
_PLACES = """
SELECT s.name, k.agent_id FROM kernels AS k JOIN sessions AS s ON s.id = k.session_id ORDER BY s.name
"""


class Slot(msgspec.Struct):
    capacity: int
    occupied: int


class Outcome(msgspec.Struct):
    """The keys that programs rely on."""

    sessions: int
    placed: int
    waiting: int
    waiting_reasons: dict[str, int]
    ticks: int
    tick_ms: dict[str, float]
    agents: int
    overcommitted_agents: int
    slots: dict[str, Slot]


def outcome_of(ended: Ended) -> Outcome:
    assert ended.code == 0, ended.errors
    (line,) = ended.output.splitlines()
    return msgspec.json.decode(line, type=Outcome)


async def count_sessions(database: Database) -> int:
    async with database.driver_as(ADMIN) as driver:
        return int(await driver.fetchval("SELECT count(*) FROM sessions"))


def count_refreshes(group: str, answer: str) -> float:
    """How many answers a tracker of the group has given that came from everything, from changes, from none."""
    labels = {"scaling_group": group, "answer": answer, "reason": "first" if answer == "full" else ""}
    return REGISTRY.get_sample_value("scheduler_repo_snapshot_refresh_count_total", labels) or 0.0


def trace_options(folder: Path, nodes: int, pods: int) -> tuple[str, ...]:
    """Write a trace; return the options that name it."""
    nodes_file, pods_file = write_trace(folder, nodes, pods)
    return "--trace-nodes", str(nodes_file), "--trace-pods", str(pods_file)


def width_of(output: str) -> int:
    return max(len(line) for line in output.splitlines())


class TestJson:
    def test_one_object_adds_up(self, command: Command) -> None:
        # Given
        cluster = synthetic_cluster(20, 300, 7)
        capacity = sum(agent.capacity.get("cpu", 0) for agent in cluster.agents)  # type: ignore[call-overload]

        # When
        ended = command.run("demo", *SMALL, "--seed", "7", "--json")

        # Then
        outcome = outcome_of(ended)
        assert (outcome.sessions, outcome.agents, outcome.overcommitted_agents) == (300, 20, 0)
        assert outcome.placed + outcome.waiting == 300
        assert 0 < outcome.placed < 300
        assert sum(outcome.waiting_reasons.values()) == outcome.waiting
        assert outcome.ticks >= 2
        assert outcome.tick_ms.keys() == {"read", "transform", "plan", "write"}
        assert outcome.slots["cpu"].capacity == capacity
        assert 0 < outcome.slots["cpu"].occupied <= capacity
        assert "tick 1" in ended.errors
        assert command.left_behind() == []

    def test_the_same_seed_places_the_same(
        self, command_here: CommandHere, migrated_database: Database, fresh_database: Database
    ) -> None:
        first, second = (
            outcome_of(command_here.run("demo", *SMALL, "--json", "--database-url", each.url_as(SCHEDULER)))
            for each in (migrated_database, fresh_database)
        )
        assert (first.placed, first.slots) == (second.placed, second.slots)

    def test_an_empty_cluster_lets_all_wait(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        ended = command_here.run("demo", "--agents", "0", "--sessions", "9", "--json", "--database-url", url)
        outcome = outcome_of(ended)
        assert (outcome.placed, outcome.waiting, outcome.ticks) == (0, 9, 1)
        assert outcome.slots["cpu"] == Slot(0, 0)

    def test_a_trace_is_offered(
        self, command_here: CommandHere, migrated_database: Database, tmp_path: Path
    ) -> None:
        # given room for eight of nine tasks
        files = trace_options(tmp_path, nodes=1, pods=9)
        # when
        url = migrated_database.url_as(SCHEDULER)
        outcome = outcome_of(command_here.run("demo", *files, "--json", "--database-url", url))
        # then
        assert (outcome.sessions, outcome.agents, outcome.overcommitted_agents) == (9, 1, 0)
        assert (outcome.placed, outcome.waiting) == (8, 1)

    async def test_ticks_that_read_what_has_changed_place_what_full_reads_do(
        self,
        command_here: CommandHere,
        migrated_database: Database,
        fresh_database: Database,
        tmp_path: Path,
    ) -> None:
        # given a trace whose tasks come a few at a time, more of them than there is room for
        files = trace_options(tmp_path, nodes=4, pods=40)
        placed, reads = [], []
        for database, group, options in (
            (migrated_database, "changes", ()),
            (fresh_database, "everything", ("--full-reads",)),
        ):
            # when
            url = database.url_as(SCHEDULER)
            arguments = ("--per-tick", "8", "--group", group, "--json", "--database-url", url)
            outcome = outcome_of(
                await asyncio.to_thread(command_here.run, "demo", *files, *arguments, *options)
            )
            # then
            assert (outcome.ticks, outcome.placed, outcome.waiting) == (5, 32, 8)
            async with database.driver_as(ADMIN) as driver:
                placed.append(await driver.fetch(_PLACES))
            reads.append(
                {answer: count_refreshes(group, answer) for answer in ("full", "changes", "unchanged")}
            )
        assert placed[0] == placed[1]
        assert reads[0] == {"full": 1, "changes": 4, "unchanged": 0}
        assert not any(reads[1].values())

    @pytest.mark.slow
    @needs_trace
    def test_the_whole_trace_is_offered_at_once(self, command: Command) -> None:
        files = ("--trace-nodes", str(trace_directory() / "nodes.csv"))
        pods = ("--trace-pods", str(trace_directory() / "pods.csv"))
        outcome = outcome_of(command.run("demo", *files, *pods, "--json"))
        assert (outcome.sessions, outcome.agents, outcome.overcommitted_agents) == (8152, 1523, 0)
        assert outcome.placed + outcome.waiting == 8152
        assert outcome.placed >= 7850
        shares = outcome.slots["cuda.shares"]
        assert shares.occupied * 100 >= shares.capacity * 94
        assert command.left_behind() == []


class TestSummary:
    def test_times_are_those_of_all_ticks(self, command_here: CommandHere, migrated_database: Database) -> None:
        # Given
        output = command_here.run("demo", *SMALL, "--database-url", migrated_database.url_as(SCHEDULER)).output
        ticks = re.findall(
            r"read ([\d,]+), transform ([\d,]+), plan ([\d,]+), write ([\d,]+) ms$", output, re.M
        )
        assert len(ticks) >= 2

        # When
        (sums,) = re.findall(
            r"^ticks, in all  read ([\d.]+), transform ([\d.]+), plan ([\d.]+), write ([\d.]+) ms$",
            output,
            re.M,
        )

        # Then they add up, but for what each line has rounded
        for position, amount in enumerate(sums):
            parts = sum(int(tick[position].replace(",", "")) for tick in ticks)
            assert abs(float(amount) - parts) <= 0.5 * len(ticks) + 0.1

    def test_a_terminal_gets_a_live_table_without_colours_if_unwanted(
        self, command: Command, migrated_database: Database
    ) -> None:
        ended = command.run_on_terminal("demo", *SMALL, "--database-url", migrated_database.url_as(SCHEDULER))
        shown = ended.output
        assert ended.code == 0
        assert "\x1b[?25l" in shown  # the cursor is hidden while the table changes,
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and comes back
        assert "rejected" in shown
        assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", shown)


class TestKeep:
    @pytest.fixture
    def kept(self, loaded_command: Command) -> Ended:
        return loaded_command.run("demo", *SMALL, "--keep", "--port", str(free_port()))

    def test_a_pipe_gets_plain_lines_and_kept_servers_are_reached_and_ended_as_they_say(
        self, loaded_command: Command, kept: Ended, tmp_path: Path
    ) -> None:
        # Given plain lines
        assert (kept.code, kept.errors) == (0, "")
        assert "\x1b" not in kept.output
        assert kept.output.isascii()
        assert not re.search(r" $", kept.output, re.MULTILINE)
        summary = kept.output.partition("\nagents ")[2]
        assert re.search(r"^run  .* start .* s in all$", summary, re.MULTILINE)
        for expected in ("placed", "waiting", "NOT_ENOUGH_FREE", "rejected by the gate", "cuda.shares", "loop"):
            assert expected in summary
        # and the commands that the last of them show
        shown = kept.output.partition("The servers go on. To look into the database:\n")[2]
        look, _, stop = shown.partition("To stop them, and then to remove all they hold:\n")
        psql, snapshot = re.findall(r"^  \S.*\n(?:    .*\n)+", look, re.MULTILINE)
        try:
            # When they are pasted where no environment is activated
            count = self._paste(psql, "SELECT count(*) FROM sessions\\g (format=unaligned tuples_only)\n")
            seen = self._paste(snapshot)

            # Then
            assert count.stdout == "300\n"
            assert (seen.returncode, seen.stderr) == (0, "")
            assert "the cache" in seen.stdout
        finally:
            # When PostgreSQL takes its time to end
            pid = int(stop.split()[2])
            os.kill(pid, signal.SIGSTOP)
            slow = self._folder_with_a_sleep_that_continues(pid, tmp_path / "bin")
            ended = self._paste(stop, path=f"{slow}:/usr/bin:/bin")
            has_ended = self._has_ended(pid)
            self._continue(pid)
        # Then
        assert has_ended
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert list(loaded_command.folder.iterdir()) == []
        assert loaded_command.left_behind() == []
        assert width_of(stop.replace(loaded_command.folder.name, "")) <= 80

    def _folder_with_a_sleep_that_continues(self, pid: int, folder: Path) -> Path:
        """A ``sleep`` for PATH that lets the paused process go on: whoever does not wait finds it paused."""
        folder.mkdir()
        sleep = folder / "sleep"
        sleep.write_text(f'#!/bin/sh\nkill -CONT {pid}\nPATH=/usr/bin:/bin exec sleep "$@"\n')
        sleep.chmod(0o755)
        return folder

    def _has_ended(self, pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def _continue(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _paste(
        self, commands: str, typed: str = "", path: str = "/usr/bin:/bin"
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/sh", "-c", commands],
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=PROJECT_ROOT,
            env={"PATH": path},
            check=False,
        )


class TestOwnDatabase:
    async def test_it_is_used_and_what_was_loaded_stays(
        self, command: Command, migrated_database: Database
    ) -> None:
        ended = command.run(
            "demo", *SMALL, "--group", "mine", "--database-url", migrated_database.url_as(SCHEDULER)
        )
        assert (ended.code, ended.errors) == (0, "")
        first = ended.output.splitlines()[0]
        assert first.startswith("servers: using postgresql")
        assert first.endswith("from --database-url; what is loaded stays there")
        assert "Group mine and all that was loaded with it stay in" in ended.output
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions WHERE scaling_group = 'mine'") == 300
        assert command.left_behind() == []

    def test_the_environment_names_it_too(self, command_here: CommandHere, migrated_database: Database) -> None:
        url = migrated_database.url_as(SCHEDULER)
        ended = command_here.run("demo", *SMALL, "--json", SCHEDULER_REPO_DATABASE_URL=url)
        assert outcome_of(ended).sessions == 300
        first = ended.errors.splitlines()[0]
        assert first.startswith("servers: using postgresql")
        assert first.endswith("from SCHEDULER_REPO_DATABASE_URL; what is loaded stays there")

    def test_a_group_that_exists_is_left_alone(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        # Given
        url = ("--database-url", migrated_database.url_as(SCHEDULER))
        assert command_here.run("demo", *SMALL, *url).code == 0

        # When
        ended = command_here.run("demo", "--seed", "2", *url)

        # Then
        assert ended.code == 1
        assert "a scaling group of this name exists already" in ended.error_line
        assert ended.error_line.endswith("; give another name with --group")
        assert asyncio.run(count_sessions(migrated_database)) == 300
        assert command_here.run("demo", *SMALL, *url, "--group", "other").code == 0

    def test_a_role_that_may_not_write_is_told_which_may(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        ended = command_here.run("demo", *SMALL, "--json", "--database-url", migrated_database.url_as(READER))
        assert ended.code == 1
        error = ended.errors.splitlines()[-1]
        assert "permission denied" in error
        assert error.endswith("; connect as scheduler_repo_scheduler")
