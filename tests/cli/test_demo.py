"""The demo, as a person or a script runs it."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from scheduler_repo.workload.synthetic import synthetic_cluster
from tests.cli.command import Command, CommandHere, Ended
from tests.databases import ADMIN, SCHEDULER, Database
from tests.embedded.observation import PROJECT_ROOT, free_port, wait_until_gone
from tests.trace_location import needs_trace, trace_directory

SMALL = ("--agents", "20", "--sessions", "300")


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

    def test_the_same_seed_places_the_same(self, command: Command) -> None:
        first = outcome_of(command.run("demo", *SMALL, "--json"))
        second = outcome_of(command.run("demo", *SMALL, "--json"))
        assert (first.placed, first.slots) == (second.placed, second.slots)

    def test_an_empty_cluster_lets_all_wait(self, command: Command) -> None:
        outcome = outcome_of(command.run("demo", "--agents", "0", "--sessions", "9", "--json"))
        assert (outcome.placed, outcome.waiting, outcome.ticks) == (0, 9, 1)
        assert outcome.slots["cpu"] == Slot(0, 0)

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
    def test_a_pipe_gets_plain_lines(self, command: Command) -> None:
        ended = command.run("demo", *SMALL)
        assert (ended.code, ended.errors) == (0, "")
        assert "\x1b" not in ended.output
        assert ended.output.isascii()
        assert not re.search(r" $", ended.output, re.MULTILINE)
        summary = ended.output.partition("\nagents ")[2]
        assert width_of(summary) <= 80
        for expected in ("placed", "waiting", "NOT_ENOUGH_FREE", "rejected by the gate", "cuda.shares", "loop"):
            assert expected in summary

    def test_a_terminal_gets_a_live_table_without_colours_if_unwanted(self, command: Command) -> None:
        # Given a terminal of 80 columns
        ours, theirs = pty.openpty()
        os.set_blocking(ours, True)
        environment = command.environment({"TERM": "xterm-256color", "NO_COLOR": "1"})

        # When
        process = subprocess.Popen(
            [sys.executable, "-m", "scheduler_repo.cli", "demo", *SMALL],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=PROJECT_ROOT,
            env=environment,
        )
        os.close(theirs)
        shown = self._read_all(ours)

        # Then
        assert process.wait(30) == 0
        assert "\x1b[?25l" in shown  # the cursor is hidden while the table changes,
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and comes back
        assert "rejected" in shown
        assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", shown)

    def _read_all(self, descriptor: int) -> str:
        chunks: list[bytes] = []
        while True:
            try:
                chunk = os.read(descriptor, 65536)
            except OSError:  # how Linux says that the other side has closed
                chunk = b""
            if not chunk:
                os.close(descriptor)
                return b"".join(chunks).decode()
            chunks.append(chunk)


class TestKeep:
    @pytest.fixture
    def kept(self, command: Command) -> Ended:
        return command.run("demo", *SMALL, "--keep", "--port", str(free_port()))

    def test_kept_servers_are_reached_and_ended_as_it_says(self, command: Command, kept: Ended) -> None:
        # Given the commands that the last lines show
        assert kept.code == 0, kept.errors
        shown = kept.output.partition("The servers go on.")[2].replace("\\\n", " ")
        commands = [shlex.split(line) for line in shown.splitlines() if line.startswith("  ")]
        psql, snapshot, kill, remove = commands
        pids = [int(pid) for pid in kill[2:]]
        try:
            # When
            count = subprocess.check_output(
                [*psql, "-Atc", "SELECT count(*) FROM sessions"], cwd=command.folder, text=True
            )
            seen = command.run(*snapshot[1:], "--max-staleness", "60")

            # Then
            assert count.strip() == "300"
            assert seen.code == 0, seen.errors
            assert "the cache" in seen.output
        finally:
            # When
            assert kill[:2] == ["kill", "-INT"]
            for pid in pids:
                os.kill(pid, signal.SIGINT)
            psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
        # Then
        assert remove[:2] == ["rm", "-r"]
        assert sorted(map(Path, remove[2:])) == sorted(command.folder.iterdir())
        subprocess.check_call(remove)
        assert all(wait_until_gone(Path(path)) for path in remove[2:])
        assert command.left_behind() == []


class TestOwnDatabase:
    async def test_it_is_used_and_what_was_loaded_stays(
        self, command: Command, migrated_database: Database
    ) -> None:
        ended = command.run(
            "demo", *SMALL, "--group", "mine", "--database-url", migrated_database.url_as(SCHEDULER)
        )
        assert (ended.code, ended.errors) == (0, "")
        assert "Group mine and all that was loaded with it stay in" in ended.output
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions WHERE scaling_group = 'mine'") == 300
        assert command.left_behind() == []

    def test_the_environment_names_it_too(self, command_here: CommandHere, migrated_database: Database) -> None:
        url = migrated_database.url_as(SCHEDULER)
        ended = command_here.run("demo", *SMALL, "--json", SCHEDULER_REPO_DATABASE_URL=url)
        assert outcome_of(ended).sessions == 300
        assert "servers" not in ended.errors

    async def test_a_group_that_exists_is_left_alone(
        self, command: Command, migrated_database: Database
    ) -> None:
        # Given
        url = ("--database-url", migrated_database.url_as(SCHEDULER))
        assert command.run("demo", *SMALL, *url).code == 0

        # When
        ended = command.run("demo", "--seed", "2", *url)

        # Then
        assert ended.code == 1
        assert "a scaling group of this name exists already" in ended.error_line
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions") == 300
