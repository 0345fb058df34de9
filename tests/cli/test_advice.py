"""A command gives one advice."""

import pytest

from tests.support.command import CommandHere
from tests.support.databases import READER, SCHEDULER, Database

SOME_ID = "6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11"


class TestAdviceOfCommands:
    """What a command knows to do stands in the place of what the package says to everybody."""

    @pytest.mark.parametrize(
        ("role", "arguments", "ending"),
        [
            (
                SCHEDULER,
                ("explain", SOME_ID),
                f"{SOME_ID}; correct the id; those that wait are in: scheduler-repo snapshot GROUP --json",
            ),
            (
                SCHEDULER,
                ("snapshot", "none"),
                "there is no scaling group 'none'; list the groups with: SELECT name FROM scaling_groups",
            ),
            (
                READER,
                ("demo", "--agents", "1"),
                "the role lacks the privilege; connect as scheduler_repo_scheduler",
            ),
            (
                READER,
                ("db", "purge", "--older-than", "30d"),
                ": the role lacks the privilege; purge as the role scheduler_repo_scheduler",
            ),
        ],
        ids=["explain", "snapshot", "demo", "purge"],
    )
    def test_there_is_one(
        self,
        command_here: CommandHere,
        migrated_database: Database,
        role: str,
        arguments: tuple[str, ...],
        ending: str,
    ) -> None:
        ended = command_here.run(*arguments, "--database-url", migrated_database.url_as(role))
        assert ended.code == 1
        assert ended.error_line.endswith(ending)
