"""What a person gets wrong: one clear line, a non-zero code, no traceback, nothing left."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.command import Command, CommandHere
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database

NODES = "sn,cpu_milli,memory_mib,gpu,model\nnode-1,32000,262144,0,\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time\npod-1,1000,1024,0,0,,LS,0\n"


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["dmo"], "Did you mean 'demo'?"),
            (["demo", "--agent", "3"], "'--agents'"),
            (["demo", "--agents", "-1"], "--agents"),
            (["demo", "--agents", "x"], "'--agents': 'x' is not a whole number"),
            (["demo", "--seed", "x"], "'--seed': 'x' is not a whole number"),
            (["demo", "--sessions", "2.5"], "'2.5' is not a whole number"),
            (["demo", "--sessions", "1000001"], "--sessions"),
            (["demo", "--port", "0"], "--port"),
            (["demo", "--group", ""], "a name has 1 to 255"),
            (["demo", "--trace-nodes", "nodes.csv"], "--trace-pods belong together"),
            (["demo", "--trace-nodes", "a", "--trace-pods", "b", "--seed", "1"], "a trace has its own"),
            (["demo", "--keep", "--database-url", "postgresql:///x"], "; leave out --database-url."),
            (["snapshot"], "GROUP"),
            (["snapshot", "demo"], "give --database-url or set SCHEDULER_REPO_DATABASE_URL"),
            (["snapshot", "demo", "--max-staleness", "-1"], "'-1' is not a number of seconds"),
            (["snapshot", "demo", "--max-staleness", "nan"], "'nan' is not a number of seconds"),
            (["snapshot", "demo", "--max-staleness", "inf"], "'inf' is not a number of seconds"),
            (
                ["snapshot", "demo", "--max-staleness", "5", "--database-url", "postgresql:///x"],
                "--max-staleness needs a cache that may answer; give --redis-url",
            ),
            (["snapshot", "demo", "-o", "-", "--json"], "-o - and --json both write to stdout"),
            (["snapshot", "demo", "-o", "postgresql:///x"], "this is a URL; give the path of a file"),
            (["demo", "--agents"], "'--agents' requires an argument. See 'scheduler-repo demo --help'"),
            (["db", "current", "--database-url"], "See 'scheduler-repo db current --help'"),
            (["db", "purge", "--bogus"], "See 'scheduler-repo db purge --help'"),
            (["db", "current", "--database-url", ""], "the URL given is empty"),
            (["db", "check"], "give --database-url or set SCHEDULER_REPO_DATABASE_URL"),
        ],
    )
    def test_wrong_usage_is_named(self, command_here: CommandHere, arguments: list[str], expected: str) -> None:
        ended = command_here.run(*arguments)
        assert (ended.code, ended.output) == (2, "")
        assert expected in ended.error_line
        assert "--help" in ended.error_line

    def test_servers_of_ones_own_are_not_kept(self, command_here: CommandHere) -> None:
        ended = command_here.run("demo", "--keep", SCHEDULER_REPO_DATABASE_URL="postgresql:///x")
        assert ended.code == 2
        assert "are for the embedded PostgreSQL; unset SCHEDULER_REPO_DATABASE_URL." in ended.error_line

    def test_a_url_that_was_hidden_is_still_called_an_option(self, loaded_command: Command) -> None:
        ended = loaded_command.run("demo", "--keep", "--database-url", "postgresql://u:hunter2@h/d")
        assert ended.code == 2
        assert "; leave out --database-url." in ended.error_line

    def test_a_variable_that_is_no_setting_is_named(self, command_here: CommandHere) -> None:
        ended = command_here.run("db", "current", SCHEDULER_REPO_DATABSE_URL="postgresql:///x")
        assert ended.code == 1
        assert "SCHEDULER_REPO_DATABSE_URL is set but is no setting" in ended.error_line


class TestTraceFiles:
    @pytest.mark.parametrize(
        ("nodes", "pods", "expected"),
        [
            (None, PODS, "nodes.csv: cannot be read: No such file"),
            ("", PODS, "nodes.csv, line 1: is empty"),
            ("sn,cpu_milli\n", PODS, "nodes.csv, line 1: the header lacks memory_mib"),
            (NODES + "node-2,-5,1,0,\n", PODS, "nodes.csv, line 3: cpu_milli must be a whole number"),
            (NODES + "node-1,5,1,0,\n", PODS, "nodes.csv, line 3: sn 'node-1' is taken"),
            (NODES + "node-2,0,0,0,\n", PODS, "nodes.csv, line 3: the node has no capacity"),
            (NODES, PODS + "pod-2,0.5,1,0,0,,LS,0\n", "pods.csv, line 3: cpu_milli must be a whole number"),
            (NODES, PODS + "pod-2,0,0,0,0,,LS,0\n", "pods.csv, line 3: the task asks for nothing"),
            (NODES, PODS + f"pod-2,{2**63},1,0,0,,LS,0\n", "pods.csv, line 3: cpu_milli"),
        ],
    )
    def test_file_and_line_are_named(
        self, command_here: CommandHere, tmp_path: Path, nodes: str, pods: str, expected: str
    ) -> None:
        # Given
        for name, text in (("nodes.csv", nodes), ("pods.csv", pods)):
            if text is not None:
                (tmp_path / name).write_text(text)

        # When
        ended = command_here.run(
            "demo", "--trace-nodes", str(tmp_path / "nodes.csv"), "--trace-pods", str(tmp_path / "pods.csv")
        )

        # Then
        assert ended.code == 1
        assert expected in ended.error_line

    def test_the_real_command_ends_as_clean(self, loaded_command: Command) -> None:
        ended = loaded_command.run("demo", "--trace-nodes", "/no/nodes.csv", "--trace-pods", "/no/pods.csv")
        assert ended.code == 1
        assert ended.error_line.startswith("error: /no/nodes.csv: cannot be read")
        assert loaded_command.left_behind() == []


class TestServers:
    def test_a_port_in_use_is_named(self, command: Command) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            ended = command.run("demo", "--port", str(port))
        assert ended.code == 1
        assert f"127.0.0.1:{port}" in ended.error_line
        assert "in use" in ended.error_line
        assert command.left_behind() == []

    def test_a_redis_that_is_not_there_is_named(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        redis_url = "redis://:hunter2@127.0.0.1:1"
        ended = command_here.run("demo", "--database-url", url, "--redis-url", redis_url)
        assert ended.code == 1
        assert "redis://@127.0.0.1:1: Redis cannot be reached" in ended.error_line

    @pytest.mark.parametrize(
        "url",
        ["http://h", "redis://h:port", "redis://h?bogus=1", "h:6379", "redis://h/notanumber", "redis://h/0/1"],
    )
    def test_a_redis_url_that_is_none_is_refused(
        self, command_here: CommandHere, migrated_database: Database, url: str
    ) -> None:
        database_url = migrated_database.url_as(SCHEDULER)
        ended = command_here.run("snapshot", "demo", "--database-url", database_url, "--redis-url", url)
        assert ended.code == 2
        assert "the Redis URL cannot be read" in ended.error_line


class TestDatabases:
    def test_a_schema_that_is_missing_is_named(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        for arguments in (["demo"], ["snapshot", "demo"], ["db", "current"]):
            ended = command_here.run(*arguments, "--database-url", empty_database.url_as(SCHEDULER))
            assert ended.code == 1
            assert "run: scheduler-repo db upgrade" in ended.error_line

    def test_a_revision_that_nobody_knows_is_named(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        script = "UPDATE scheduler_repo_schema_version SET version_num = '9999'"
        asyncio.run(migrated_database.run_as(OWNER, script))
        ended = command_here.run("demo", "--database-url", migrated_database.url_as(SCHEDULER))
        assert ended.code == 1
        assert "revision 9999, which this package does not know" in ended.error_line

    async def test_a_database_that_only_reads_is_named(
        self, command: Command, migrated_database: Database
    ) -> None:
        # Given
        name = migrated_database.name
        await migrated_database.run_as(ADMIN, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        # When
        ended = command.run("demo", "--database-url", migrated_database.url_as(SCHEDULER))

        # Then
        assert ended.code == 1
        assert "the database is read-only" in ended.error_line
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM scaling_groups") == 0

    def test_a_schema_is_not_made_in_one_that_only_reads(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        script = f"ALTER DATABASE {empty_database.name} SET default_transaction_read_only = on"
        asyncio.run(empty_database.run_as(ADMIN, script))
        ended = command_here.run("db", "upgrade", "--database-url", empty_database.url_as(OWNER))
        assert ended.code == 1
        assert "read-only transaction" in ended.error_line

    def test_a_group_that_is_unknown_is_named(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        ended = command_here.run("snapshot", "nope", "--database-url", migrated_database.url_as(SCHEDULER))
        assert ended.code == 1
        assert "there is no scaling group 'nope'" in ended.error_line
        assert ended.error_line.endswith("; list the groups with: SELECT name FROM scaling_groups")

    def test_a_database_of_another_name_is_named(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER).replace(migrated_database.name, "no_such_database")
        ended = command_here.run("demo", "--database-url", url)
        assert ended.code == 1
        assert 'database "no_such_database" does not exist' in ended.error_line
