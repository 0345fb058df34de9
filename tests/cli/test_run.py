"""``scheduler-repo run``: schedules until a signal comes, and says what goes wrong."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from scheduler_repo.connection import open_repositories
from tests.cli.running import asked, end_with, read_until
from tests.support.command import Command, CommandHere
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, cluster, session

PARTS = """
class Raising:
    def plan(self, data): raise KeyError("cpu")

class NoPlanner: pass

def plan(data): return []

class Silent:
    def dispatch(self, sessions): return []
"""


class Line(msgspec.Struct):
    """A line of the log in JSON."""

    level: str
    message: str
    scaling_group: str = ""
    placed: int = 0


@pytest.fixture
async def url(migrated_database: Database) -> str:
    """A database with one agent and a session that fits."""
    url = migrated_database.url_as(SCHEDULER)
    async with open_repositories(url) as repos:
        await repos.cluster.load_cluster(cluster([agent("a1")], [session(1, 1, 1)]))
    return url


class TestRun:
    async def test_schedules_until_a_signal(self, command: Command, url: str) -> None:
        def work() -> None:
            process = command.start(
                *("run", GROUP, "--metrics-port", "0", "--log-format", "json", "--database-url", url)
            )
            said = read_until(process, "placed 1")
            place = said[said.index("http://") :].split("/metrics")[0]
            assert asked(f"{place}/healthz") == (200, f"{GROUP}: leading\n")
            assert asked(f"{place}/readyz") == (200, f"{GROUP}: leading\n")
            assert "scheduler_repo_ticks_total" in asked(f"{place}/metrics")[1]
            ended = end_with(process, signal.SIGTERM)
            assert ended.code == 0, ended.errors
            lines = [
                msgspec.json.decode(line, type=Line)
                for line in (said + ended.errors).splitlines()
                if line[0] == "{"
            ]
            (placed,) = [line for line in lines if line.placed]
            assert (placed.level, placed.scaling_group, placed.placed) == ("info", GROUP, 1)

        await asyncio.to_thread(work)

    async def test_a_group_that_is_unknown_leaves_the_others(self, command: Command, url: str) -> None:
        def work() -> None:
            process = command.start(*("run", "nope", GROUP, "--metrics-port", "0", "--database-url", url))
            said = read_until(process, "placed 1")
            if "given up" not in said:
                said += read_until(process, "given up")
            assert "error: scaling group 'nope' is given up by this process: " in said
            place = said[said.index("http://") :].split("/metrics")[0]
            assert asked(f"{place}/readyz") == (503, f"nope: stopped\n{GROUP}: leading\n")
            assert end_with(process, signal.SIGINT).code == 1

        await asyncio.to_thread(work)

    async def test_a_planner_for_each_group_and_a_dispatcher(self, command: Command, url: str) -> None:
        def work() -> None:
            process = command.start(
                *("run", GROUP, OTHER_GROUP, "--planner", "tests.cli.parts:make_few"),
                *("--dispatcher", "tests.cli.parts:Telling", "--database-url", url),
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "told of 1\n"
            ended = end_with(process, signal.SIGTERM)
            assert ended.code == 0, ended.errors
            # A pool that ends has nothing to say.
            assert "Pool" not in ended.errors

        await asyncio.to_thread(work)

    async def test_a_planner_that_cannot_be_made_leaves_the_other_groups(
        self, command: Command, url: str
    ) -> None:
        def work() -> None:
            process = command.start(
                *("run", GROUP, OTHER_GROUP, "--planner", "tests.cli.parts:OnlyOne"),
                *("--metrics-port", "0", "--database-url", url),
            )
            said = read_until(process, "placed 1")
            assert "is given up by this process: RuntimeError: there is one already (parts.py:" in said
            place = said[said.index("http://") :].split("/metrics")[0]
            assert asked(f"{place}/healthz") == (200, f"{GROUP}: leading\n{OTHER_GROUP}: stopped\n")
            assert end_with(process, signal.SIGTERM).code == 1

        await asyncio.to_thread(work)

    async def test_another_process_waits_and_takes_over(self, command: Command, url: str) -> None:
        def work() -> None:
            arguments = ("run", GROUP, "--database-url", url)
            leader = command.start(*arguments, "--holder", "first")
            read_until(leader, "placed 1")
            other = command.start(*arguments, "--holder", "second")
            read_until(other, "is led by another process")
            assert end_with(leader, signal.SIGTERM).code == 0
            read_until(other, "this process leads")
            ended = end_with(other, signal.SIGTERM)
            assert ended.code == 0
            assert "is led by another process" not in ended.errors

        await asyncio.to_thread(work)

    async def test_a_planner_that_raises_is_told_of_once(
        self, loaded_command: Command, url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "parts_that_raise.py").write_text(PARTS)

        def work() -> None:
            process = loaded_command.start(
                *("run", GROUP, "--planner", "parts_that_raise:Raising", "--database-url", url),
                PYTHONPATH=str(tmp_path),
            )
            said = read_until(process, "KeyError")
            ended = end_with(process, signal.SIGTERM)
            assert ended.code == 0
            assert (said + ended.errors).count("KeyError") == 1

        await asyncio.to_thread(work)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], "Missing argument 'GROUP...'"),
            (["gpu", "gpu"], "a group is named twice"),
            (["postgresql://u:p@h/d"], "this is a URL; give the names of scaling groups"),
            (
                ["gpu", "--interval", "0"],
                "'0' is not a number of seconds that can be used here; give 0.1 to 3600",
            ),
            (["gpu", "--interval", "nan"], "'nan' is not a number of seconds"),
            (["gpu", "--intervall", "1"], "'--interval'"),
            (["gpu", "--lease-ttl", "10"], "--lease-ttl is 10; give above 10"),
            (["gpu", "--holder", ""], "a name has 1 to 255"),
            (["gpu", "--no-sweep", "x"], "'x' is not one of"),
            (["gpu", "--log-format", "xml"], "'xml' is not one of"),
            (["gpu", "--planner", "no_such:Planner"], "cannot be loaded: ModuleNotFoundError"),
            (["gpu", "--planner", "parts_of_mine:NoPlanner"], "without a method plan(data)"),
            (["gpu", "--planner", "parts_of_mine:plan"], "planner is a function without a method plan(data)"),
            (["gpu", "--planner", "ends_at_import:Planner"], "cannot be loaded: SystemExit"),
            (["gpu", "--dispatcher", "agents"], "'agents' is not MODULE:OBJECT, such as agents:Dispatcher"),
            (["gpu", "--dispatcher", "parts_of_mine:Silent"], "dispatch() is no coroutine function"),
        ],
    )
    def test_is_one_line(
        self,
        command_here: CommandHere,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        arguments: list[str],
        expected: str,
    ) -> None:
        (tmp_path / "parts_of_mine.py").write_text(PARTS)
        (tmp_path / "ends_at_import.py").write_text("raise SystemExit(0)")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        for module in ("parts_of_mine", "ends_at_import"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        ended = command_here.run("run", *arguments, SCHEDULER_REPO_DATABASE_URL="postgresql:///nowhere")
        assert (ended.code, ended.output) == (2, "")
        assert expected in ended.error_line

    def test_no_database(self, command: Command) -> None:
        ended = command.run("run", "gpu")
        assert ended.code == 2
        assert "give --database-url" in ended.error_line

    def test_a_port_in_use(self, command: Command) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
            ended = command.run(
                *("run", "gpu", "--database-url", "postgresql:///nowhere", "--metrics-port", port)
            )
        assert ended.code == 2
        assert "Address already in use" in ended.error_line
