"""Ctrl-C and other signals, at every stage: one line, a non-zero code, nothing half done, nothing left."""

import signal

import pytest

from tests.support.command import Command
from tests.support.databases import ADMIN, SCHEDULER, Database

# The size matters where the demo is to be met while it makes, loads or places it.
SMALL = ("demo", "--agents", "20", "--sessions", "300")
LARGE = ("demo", "--agents", "1000", "--sessions", "8000")


@pytest.mark.slow
class TestInterruption:
    @pytest.mark.parametrize(
        ("mark", "size"),
        [
            ("input:", LARGE),
            ("servers:", SMALL),
            ("schema:", SMALL),
            ("load: 1,000 of", LARGE),
            ("tick 1: 1,", LARGE),
        ],
        ids=["input", "servers", "schema", "load", "tick"],
    )
    def test_ctrl_c_leaves_nothing(self, loaded_command: Command, mark: str, size: tuple[str, ...]) -> None:
        ended = loaded_command.run_until(mark, signal.SIGINT, *size, "--keep")
        assert ended.code == 130
        assert "stopped by Ctrl-C" in ended.error_line
        assert loaded_command.left_behind() == []

    def test_impatience_does_not_stop_the_clean_up(self, loaded_command: Command) -> None:
        ended = loaded_command.run_until("load:", signal.SIGINT, *LARGE, impatient=True)
        assert (ended.code, loaded_command.left_behind()) == (130, [])
        assert "removed" in ended.error_line

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_other_signals_clean_up_too(self, loaded_command: Command, number: signal.Signals) -> None:
        ended = loaded_command.run_until("load:", number, *LARGE)
        assert ended.code == 128 + number
        assert number.name in ended.error_line
        assert loaded_command.left_behind() == []

    def test_a_kill_leaves_nothing(self, loaded_command: Command) -> None:
        ended = loaded_command.run_until("load:", signal.SIGKILL, *LARGE)
        assert ended.code == -signal.SIGKILL
        assert loaded_command.left_behind() == []

    async def test_an_interrupted_load_leaves_no_row(
        self, loaded_command: Command, migrated_database: Database
    ) -> None:
        # When some sessions have been sent to the user's own database
        url = migrated_database.url_as(SCHEDULER)
        ended = loaded_command.run_until(
            "load: 1,000 of 1,000 agents, 2,", signal.SIGINT, *LARGE, "--database-url", url
        )

        # Then
        assert ended.code == 130
        assert ended.error_line.endswith("nothing was loaded")
        async with migrated_database.driver_as(ADMIN) as driver:
            for table in ("scaling_groups", "agents", "sessions", "users"):
                assert await driver.fetchval(f"SELECT count(*) FROM {table}") == 0

    async def test_what_was_placed_before_is_said_to_stay(
        self, loaded_command: Command, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        ended = loaded_command.run_until("tick 1: 1,", signal.SIGINT, *LARGE, "--database-url", url)
        assert ended.code == 130
        assert "group demo and what was loaded stay in the database" in ended.error_line
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions") == 8_000
