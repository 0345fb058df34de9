"""``scheduler-repo db``."""

from tests.cli.command import Command, CommandHere
from tests.databases import OWNER, SCHEDULER, Database


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

    async def test_each_difference_is_shown(self, command: Command, migrated_database: Database) -> None:
        # Given
        await migrated_database.run_as(
            OWNER, "ALTER TABLE agents ADD COLUMN mood text; DROP INDEX kernels_pending_idx"
        )

        # When
        ended = command.run("db", "check", "--database-url", migrated_database.url_as(OWNER))

        # Then
        assert ended.code == 1
        assert "column agents.mood\n  expected: nothing\n  found:    text\n" in ended.output
        assert "index kernels.kernels_pending_idx\n" in ended.output
        assert ended.error_line.startswith("error: 2 differences; ")

    def test_the_wrong_role_is_told_which_is_right(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        for name in ("upgrade", "check"):
            ended = command_here.run("db", name, "--database-url", migrated_database.url_as(SCHEDULER))
            assert ended.code == 1
            assert "scheduler_repo_owner" in ended.error_line
