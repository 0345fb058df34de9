"""``python -m bench``: what it prints, what it refuses, and what it leaves behind."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import msgspec
import psutil
import pytest

from bench.cli import run
from bench.data.servers import SCHEMA_PREFIX
from bench.data.sizes import SizeName
from bench.suites.registry import SUITES
from bench.thresholds import load_thresholds
from tests.support.command import Command, CommandHere
from tests.support.databases import ADMIN, OWNER, READER, Database
from tests.support.observation import PROJECT_ROOT

TINY = ("--size", "XS", "--turns", "1")
COUNT_SCHEMAS = f"SELECT count(*) FROM pg_namespace WHERE nspname LIKE '{SCHEMA_PREFIX}%'"


class TestOutput:
    def test_json_is_one_object_on_the_last_line(
        self, command_here: CommandHere, empty_database: Database, tmp_path: Path
    ) -> None:
        # when
        url = empty_database.url_as(ADMIN)
        ended = command_here.run("overhead", *TINY, "--json", "--output", str(tmp_path), "--database-url", url)
        # then
        assert ended.code == 0, ended.errors
        (line,) = ended.output.splitlines()
        assert json.loads(line)["suite"] == "overhead"
        assert [path.name for path in tmp_path.iterdir()] == ["overhead.json"]
        assert (tmp_path / "overhead.json").read_text() == ended.output

    def test_a_page_fits_a_terminal(self, forked_command: Command, empty_database: Database) -> None:
        ended = forked_command.run_on_terminal("memory", *TINY, "--database-url", empty_database.url_as(ADMIN))
        assert ended.code == 0, ended.output
        lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ended.output).splitlines()]
        (header,) = [line for line in lines if line.startswith("case ")]
        page = lines[lines.index(header) :]
        assert page[1].startswith("full read ")
        assert max(map(len, page)) <= 80, page

    def test_a_missed_threshold_is_named_and_in_a_pipe_every_line_is_whole(
        self, command_here: CommandHere, empty_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given
        (memory,) = [each for each in load_thresholds() if each.suite == "memory"]
        strict = msgspec.structs.replace(memory, at_most=1, sizes=(SizeName.XS,))
        monkeypatch.setattr(run, "load_thresholds", lambda: (strict,))
        # when
        ended = command_here.run("memory", *TINY, "--check", "--database-url", empty_database.url_as(ADMIN))
        # then
        assert (ended.code, ended.errors) == (1, "")
        *page, last = ended.output.splitlines()
        (figures,) = [line for line in page if "bytes per session" in line]
        assert "plain peak bytes per session" in figures
        assert last.startswith("missed: memory, full read: bytes_per_session is ")
        assert last.endswith(f"to be at most 1: {memory.reason}")

    def test_help_names_all_suites(self, command_here: CommandHere) -> None:
        ended = command_here.run("--help")
        for suite in SUITES:
            assert f"\n  {suite} " in ended.output


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["raed"], "There is no suite 'raed'; there are read, write, cache, growth"),
            (["read", "--size", "XXL"], "'XXL' is not one of 'XS', 'S', 'M', 'L', 'XL'"),
            (["read", "--turns", "0"], "0 is not in the range"),
            (["read", "--seed", "one"], "'one' is not a whole number"),
            (["all", "--json"], "--json prints the object of one suite"),
            (["read", "--beside-other-data"], "give --database-url too"),
            (["read", "--trace-nodes", "nodes.csv"], "belong together"),
            (["growth", "--trace-nodes", "n", "--trace-pods", "p"], "Suite growth makes clusters of its own"),
            (["read", "--database-url", "mysql://host/db"], "the database must be PostgreSQL"),
            (["read", "--database-url", "postgresql://u:secret@127.0.0.1:1/db"], "Connection refused"),
            (["read", "--database-url", ""], "the URL given is empty"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments: list[str], said: str, command_here: CommandHere) -> None:
        ended = command_here.run(*arguments)
        assert ended.code in (1, 2)
        assert said in ended.error_line
        assert "secret" not in ended.error_line
        assert ended.output == "" or ended.output.startswith("server: using")

    def test_too_little_disk(self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 10 * 2**20))
        ended = command_here.run("read", *TINY)
        assert ended.code == 1
        assert "too little disk" in ended.error_line
        assert "give a smaller --size, or another folder by TMPDIR" in ended.error_line

    def test_too_little_memory(self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = namedtuple("memory", "available")
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(10 * 2**20))
        ended = command_here.run("read", "--size", "XL")
        assert ended.code == 1
        assert "too little memory" in ended.error_line

    def test_a_missing_extra(self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psutil", None)
        ended = command_here.run("read", *TINY)
        assert ended.code == 1
        assert ended.error_line == "error: psutil is not installed; pip install 'scheduler-repo[bench]'"


@pytest.mark.slow
class TestOnesOwnDatabase:
    def ask(self, database: Database, query: str) -> object:
        async def fetch() -> object:
            async with database.driver_as(ADMIN) as driver:
                return await driver.fetchval(query)

        return asyncio.run(fetch())

    def test_gets_a_schema_that_is_gone_afterwards(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        # when a role that is no superuser has it made
        ended = command_here.run("read", *TINY, "--json", "--database-url", empty_database.url_as(OWNER))
        # then
        assert ended.code == 0, ended.errors
        read = json.loads(ended.output)["cases"][0]
        assert read["statements"] == 13
        assert self.ask(empty_database, COUNT_SCHEMAS) == 0

    def test_with_other_data_is_refused_unless_told(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        # given
        url = migrated_database.url_as(ADMIN)
        insert = "INSERT INTO domains (name) VALUES ('mine') RETURNING name"
        assert self.ask(migrated_database, insert) == "mine"
        # when
        refused = command_here.run("overhead", *TINY, "--database-url", url)
        told = command_here.run("overhead", *TINY, "--database-url", url, "--beside-other-data")
        # then
        assert refused.code == 1
        assert "holds other data (" in refused.error_line
        assert "tables, such as public." in refused.error_line
        assert "--beside-other-data" in refused.error_line
        assert told.code == 0, told.errors
        assert self.ask(migrated_database, "SELECT array_agg(name) FROM domains") == ["mine"]
        assert self.ask(migrated_database, COUNT_SCHEMAS) == 0

    def test_where_no_schema_can_be_made_is_refused(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        ended = command_here.run("overhead", *TINY, "--database-url", empty_database.url_as(READER))
        assert ended.code == 1
        assert "role scheduler_repo_reader may not create a schema in database" in ended.error_line


@pytest.mark.slow
class TestInterruption:
    def test_leaves_nothing_behind(self, command: Command) -> None:
        ended = command.run_until("full read:", signal.SIGINT, "read", "--size", "XS", "--turns", "10000")
        assert ended.code == 130
        assert ended.error_line == "error: stopped by Ctrl-C; the embedded server was removed; nothing was kept"
        assert command.left_behind() == []

    async def test_leaves_a_database_of_ones_own_as_it_was(
        self, command: Command, empty_database: Database
    ) -> None:
        url = empty_database.url_as(ADMIN)
        arguments = ("read", "--size", "XS", "--turns", "10000", "--database-url", url)
        ended = command.run_until("full read:", signal.SIGTERM, *arguments)
        assert ended.code == 143
        assert ended.error_line.endswith("the schema was dropped; nothing was kept")
        async with empty_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval(COUNT_SCHEMAS) == 0


@pytest.mark.slow
class TestPytest:
    def test_every_case_goes_through_the_fixture(self, tmp_path: Path) -> None:
        # when
        report = tmp_path / "report.json"
        command = [sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:cacheprovider", "--size", "XS"]
        command += ["--benchmark-only", f"--benchmark-json={report}", "-k", "layer"]
        # One that runs by itself: the fixture measures nothing where several workers share the machine.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # then
        measured = json.loads(report.read_text())["benchmarks"]
        names = [each["name"] for each in measured]
        assert names == ["test_case[overhead: one layer]", "test_case[overhead: two layers]"]
        assert all(each["stats"]["rounds"] == 20 for each in measured)
        assert all("ratio_to_floor" in each["extra_info"] for each in measured)
