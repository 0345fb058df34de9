"""``scheduler-repo db``."""

import asyncio

import pytest

from scheduler_repo.database.sql_files import SQL_ROOT
from tests.support.command import CommandHere
from tests.support.databases import OWNER, SCHEDULER, Database, DatabaseServer


class TestDb:
    def test_an_empty_database_is_upgraded_once(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        # Given
        url = ("--database-url", empty_database.url_as(OWNER))
        before = command_here.run("db", "current", *url)
        assert before.code == 1
        assert before.output.startswith("current: nothing\nhead:    0")

        # When
        first, second = command_here.run("db", "upgrade", *url), command_here.run("db", "upgrade", *url)

        # Then
        assert first.code == second.code == 0
        assert first.output.startswith("upgraded from nothing to revision 0")
        assert "already" in second.output
        assert command_here.run("db", "current", *url).code == 0
        assert command_here.run("db", "check", *url).output == "the schema is as this package expects it\n"

    def test_each_difference_is_shown(self, command_here: CommandHere, migrated_database: Database) -> None:
        # Given
        script = "ALTER TABLE agents ADD COLUMN mood text; DROP INDEX kernels_pending_idx"
        asyncio.run(migrated_database.run_as(OWNER, script))

        # When
        ended = command_here.run("db", "check", "--database-url", migrated_database.url_as(OWNER))

        # Then
        assert ended.code == 1
        assert "column agents.mood\n  expected: nothing\n  found:    text\n" in ended.output
        assert "index kernels.kernels_pending_idx\n" in ended.output
        assert ended.error_line == "error: 2 differences; undo what was changed by hand"

    def test_differences_of_an_older_schema_are_for_an_upgrade(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        ended = command_here.run("db", "check", "--database-url", empty_database.url_as(OWNER))
        assert ended.code == 1
        assert "run: scheduler-repo db upgrade" in ended.error_line
        assert "by hand" not in ended.error_line

    @pytest.mark.parametrize("name", ["upgrade", "check"])
    def test_a_database_without_the_roles_is_told_which_file_to_run(
        self, command_here: CommandHere, postgres_server: DatabaseServer, empty_database: Database, name: str
    ) -> None:
        # Given a server with the roles and a database without their privileges
        database = asyncio.run(postgres_server.create_database())

        # When
        ended = command_here.run("db", name, "--database-url", database.url_as(OWNER))

        # Then
        asyncio.run(postgres_server.drop_database(database))
        assert ended.code == 1
        assert "sql/roles.sql in this database" in ended.error_line
        script = ended.error_line.partition(f"as a superuser: psql -d {database.name} -f ")[2]
        assert script == str(SQL_ROOT / "roles.sql")

    def test_the_wrong_role_is_told_which_is_right(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        for name in ("upgrade", "check"):
            ended = command_here.run("db", name, "--database-url", migrated_database.url_as(SCHEDULER))
            assert ended.code == 1
            assert "scheduler_repo_owner" in ended.error_line
            assert "superuser" not in ended.error_line
