"""No text of others reaches a terminal raw, or looks like a line of a command."""

import ast
import asyncio
import logging
import pkgutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click
import msgspec
import pytest

import scheduler_repo
from scheduler_repo.database.engine import create_engine
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.quoting import visible, visible_json
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.snapshot_files import write_snapshot
from tests.cli.hostile_texts import (
    ESCAPED,
    FORGED,
    HOSTILE,
    assert_harmless,
    assert_nothing_forged,
    commands,
    make_hostile,
    spoil_word,
    word_columns,
)
from tests.support.command import Command, CommandHere, Ended
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database
from tests.support.tcp_server import server_that

PACKAGE: Final = Path(scheduler_repo.__file__).parent
# The other options need no value, or change nothing that is shown.
VALUES: Final = {"older_than": "1h", "group": "batch"}
NOT_RUN: Final = {
    *("max_staleness", "keep", "port", "metrics_port", "metrics_host", "redis_url", "archive_path"),
    *("output", "planner_name", "show"),
}
# They have a default that will do.
LEFT_OUT: Final = {"agents", "sessions", "seed", "trace_nodes", "trace_pods", "batch_size", "per_tick"}
# "run" has nothing to end it here, and no text of a database on stdout; its errors are in test_run.py.
_COMMANDS: Final = {words: each for words, each in commands() if words != ("run",)}


class Placed:
    """A database in which a queue was placed, and what it is asked by every command."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self._file = folder / "snapshot"

    def session_ids(self) -> list[str]:
        """One session of each status."""
        return asyncio.run(self._session_ids())

    async def _session_ids(self) -> list[str]:
        async with self.database.driver_as(ADMIN) as driver:
            found = await driver.fetch("SELECT DISTINCT ON (status) id::text FROM sessions ORDER BY status, id")
            return [row[0] for row in found]

    def snapshot_file(self) -> str:
        """A file of what a tick reads now."""
        asyncio.run(self._write_snapshot())
        return str(self._file)

    async def _write_snapshot(self) -> None:
        async with self.database.driver_as(ADMIN) as driver:
            group = await driver.fetchval("SELECT name FROM scaling_groups WHERE name LIKE 'batch%'")
        engine = create_engine(DatabaseSettings(url=SecretUrl(self.database.url_as(SCHEDULER))))
        write_snapshot(self._file, (await SchedulerDBSource(engine).get_scheduling_data(group)).data)
        await engine.dispose()

    def runs(self, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The arguments of every way to run a command here: plainly, and with each of its flags."""
        command, role = _COMMANDS[words], OWNER if words[0] == "db" else SCHEDULER
        given: list[str] = []
        flags: list[str] = []
        for parameter in command.params:
            name = parameter.name or ""
            if name in NOT_RUN:
                continue
            if name == "database_url":
                given += [parameter.opts[0], self.database.url_as(role)]
            elif isinstance(parameter, click.Option) and parameter.is_flag:
                flags.append(parameter.opts[0])
            elif name in VALUES:
                value = VALUES[name] if words[0] != "demo" else "demo"
                given += [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]
            elif name == "path":
                given.append(self.snapshot_file())
            elif name != "session_id":
                # A new argument must be given a value here.
                assert name in LEFT_OUT, name
        asked = self.session_ids() if "session_id" in {each.name for each in command.params} else [""]
        for session_id in asked:
            for flag in ("", *flags):
                yield (*words, *filter(None, (session_id, flag)), *given)


def everything_said(ended: Ended) -> str:
    return ended.output + ended.errors


@pytest.fixture
def placed(placed_database: Database, tmp_path: Path) -> Placed:
    return Placed(placed_database, tmp_path)


@pytest.mark.slow
class TestEveryCommand:
    @pytest.mark.parametrize("groups", [True, False])
    @pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
    def test_every_text_of_every_table(
        self, command_here: CommandHere, placed: Placed, words: tuple[str, ...], groups: bool
    ) -> None:
        asyncio.run(make_hostile(placed.database, groups=groups))

        shown = ""
        for arguments in placed.runs(words):
            ended = command_here.run(*arguments)

            assert ended.code in (0, 1), ended
            assert_harmless(everything_said(ended))
            if "--json" in arguments and ended.code == 0:
                msgspec.json.decode(ended.output)
            shown += ended.output
        # The test would find nothing where nothing is shown.
        if words in {("explain",), ("audit",), ("replay",)} or (words == ("snapshot",) and not groups):
            assert ESCAPED[0] in shown
        if words == ("explain",) or (words == ("snapshot",) and not groups):
            assert ESCAPED[1] in shown

    @pytest.mark.parametrize("words", [words for words in _COMMANDS if words != ("demo",)], ids=" ".join)
    def test_on_a_terminal(self, command: Command, placed: Placed, words: tuple[str, ...]) -> None:
        asyncio.run(make_hostile(placed.database, groups=False))
        arguments = next(iter(placed.runs(words)))

        shown = command.run_on_terminal(*arguments).output

        # The command's own sequences are for colours, the cursor and its lines.
        obeyed = {char for char in HOSTILE if not char.isprintable()} - set("\x1b\r\n")
        assert not set(shown) & obeyed
        assert "\x1b]" not in shown
        assert_nothing_forged(shown)

    def test_words_that_are_none(self, command_here: CommandHere, placed: Placed) -> None:
        for table, column in asyncio.run(word_columns(placed.database)):
            asyncio.run(spoil_word(placed.database, table, column))
            for words in (("explain",), ("snapshot",), ("audit",)):
                for arguments in placed.runs(words):
                    ended = command_here.run(*arguments)
                    assert_harmless(everything_said(ended))

    @pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
    def test_every_argument(self, command_here: CommandHere, words: tuple[str, ...]) -> None:
        for parameter in _COMMANDS[words].params:
            if parameter.name == "debug":
                continue
            option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
            for given in ([*option, HOSTILE], [f"--{HOSTILE}"], [HOSTILE, HOSTILE, HOSTILE]):
                ended = command_here.run(*words, *given)
                assert ended.code in (1, 2)
                assert_harmless(everything_said(ended))
                assert len(ended.errors.splitlines()) == 1

    def test_every_group_of_commands(self, command_here: CommandHere) -> None:
        for words in {words[:-1] for words in _COMMANDS}:
            assert_harmless(everything_said(command_here.run(*words, HOSTILE)))

    @pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
    def test_the_errors_of_a_server(
        self, command_here: CommandHere, placed: Placed, words: tuple[str, ...]
    ) -> None:
        """A role, a database and an error with such names."""
        hostile = HOSTILE.replace("'", "''")
        asyncio.run(
            placed.database.run_as(
                ADMIN,
                f"""
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION '%', '{hostile}'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON sessions EXECUTE FUNCTION refuse();
                DO $$ BEGIN CREATE ROLE "{HOSTILE}" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$
                """,
            )
        )
        url = (
            placed.database.url_as("role")
            .replace("role@", f"{quote(HOSTILE, safe='')}@")
            .replace("+asyncpg", "")
        )
        for arguments in placed.runs(words):
            for at, argument in enumerate(arguments):
                if argument.startswith("postgresql"):
                    for changed in (url, argument):
                        ended = command_here.run(*arguments[:at], changed, *arguments[at + 1 :], "--debug")
                        assert_harmless(everything_said(ended))

    def test_a_schema_with_such_names(self, command_here: CommandHere, migrated_database: Database) -> None:
        script = f"""
        SET check_function_bodies = off;
        ALTER TABLE sessions ADD COLUMN "{HOSTILE}" text DEFAULT '{HOSTILE}';
        CREATE OR REPLACE FUNCTION session_dependencies_mark_sessions() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
        {HOSTILE}
        END $$
        """
        asyncio.run(migrated_database.run_as(ADMIN, script))
        ended = command_here.run("db", "check", "--database-url", migrated_database.url_as(OWNER))
        assert ended.code == 1
        assert_harmless(everything_said(ended))
        assert ESCAPED[0] in ended.output

    def test_a_revision_of_such_a_name(self, command_here: CommandHere, placed: Placed) -> None:
        script = f"""
        ALTER TABLE scheduler_repo_schema_version ALTER COLUMN version_num TYPE text;
        UPDATE scheduler_repo_schema_version SET version_num = '{HOSTILE}'
        """
        asyncio.run(placed.database.run_as(ADMIN, script))
        for words in _COMMANDS:
            for arguments in placed.runs(words):
                assert_harmless(everything_said(command_here.run(*arguments)))

    def test_what_redis_says(self, command: Command, placed: Placed) -> None:
        def refuse(client: socket.socket) -> None:
            while client.recv(65536):
                client.sendall(f"-ERR {HOSTILE}".replace("\r", "").replace("\n", "").encode() + b"\r\n")

        url = placed.database.url_as(SCHEDULER)
        with server_that(refuse) as port:
            for words in ("snapshot", "batch", "--max-staleness", "9"), ("demo", "--sessions", "1"):
                ended = command.run(*words, "--database-url", url, "--redis-url", f"redis://127.0.0.1:{port}")
                assert_harmless(everything_said(ended))

    def test_what_files_hold_and_are_called(self, command_here: CommandHere, tmp_path: Path) -> None:
        name = HOSTILE.replace("/", "")
        header = "sn,cpu_milli,memory_mib,gpu,model\n"
        for content in (
            header + f'"{name}",1,1,0,\n"{name}",1,1,0,\n',
            header + f'"{name}","{name}",1,0,\n',
            name,
        ):
            path = tmp_path / name
            path.write_text(content)
            ended = command_here.run("demo", "--trace-nodes", str(path), "--trace-pods", str(path))
            assert ended.code == 1
            assert_harmless(everything_said(ended))
        url = "postgresql://u@127.0.0.1:1/d"
        ended = command_here.run(
            "db", "purge", "--older-than", "30d", "--archive", str(path), "--database-url", url
        )
        assert_harmless(everything_said(ended))

    def test_variables(self, command_here: CommandHere) -> None:
        for variables in ({f"SCHEDULER_REPO_{HOSTILE}": "1"}, {"SCHEDULER_REPO_POOL_SIZE": HOSTILE}):
            ended = command_here.run("db", "current", "--database-url", "postgresql://u@h/d", **variables)
            assert ended.code == 1
            assert_harmless(everything_said(ended))


class TestOnePlace:
    def test_only_one_module_writes(self) -> None:
        """What is written elsewhere is not cleaned."""
        for path in (PACKAGE / "cli").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in {"print", "click.echo", "click.secho", "click.prompt", "click.confirm"}
                    if path.name != "terminal.py":
                        assert ".write" not in called or called.startswith("os."), f"{path}: {called}"

    def test_every_logger_cleans_its_arguments(self) -> None:
        for path in PACKAGE.rglob("*.py"):
            if path.name != "quoting.py":
                assert "logging.getLogger(__name__)" not in path.read_text(), path
        found = 0
        for module in pkgutil.walk_packages(scheduler_repo.__path__, "scheduler_repo."):
            if module.name.endswith("__main__"):
                continue
            logger = getattr(pkgutil.resolve_name(module.name), "_logger", None)
            if isinstance(logger, logging.Logger):
                found += 1
                record = logger.makeRecord("x", logging.WARNING, "x", 1, "%s %d", (HOSTILE, 7), None)
                assert logger.filter(record)
                assert_harmless(record.getMessage())
        assert found >= 3

    def test_every_error_is_one_harmless_line(self) -> None:
        kinds = [SchedulerRepoError]
        for kind in kinds:
            kinds += kind.__subclasses__()
            error = kind(f"a session named {HOSTILE}")
            for said in (str(error), repr(error), *error.args):
                assert isinstance(said, str)
                assert_harmless(said)
                assert "\n" not in said
                assert FORGED in said
        assert len(kinds) > 40


class TestVisible:
    @pytest.mark.parametrize("text", ["", "plain", "Grüße, 日本語, עברית", "a\\nb"])
    def test_what_is_printable_stays(self, text: str) -> None:
        assert visible(text) == text

    def test_the_rest_becomes_escapes(self) -> None:
        assert visible("a\x1b\x9b\u202e\ud800\U000e0001\n") == r"a\x1b\x9b\u202e\ud800\U000e0001\n"

    @pytest.mark.parametrize("text", [HOSTILE, "\U000e0001", "ü\n"])
    def test_json_stays_the_same_value(self, text: str) -> None:
        shown = visible_json(msgspec.json.encode([text]).decode())
        assert shown.isprintable()
        assert msgspec.json.decode(shown) == [text]
