"""``scheduler-repo snapshot``."""

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.scheduling.data import SchedulingData
from tests.cli.command import CommandHere
from tests.databases import SCHEDULER, Database


class TestSnapshot:
    @pytest.fixture
    def arguments(self, command_here: CommandHere, migrated_database: Database) -> tuple[str, ...]:
        """Those of a snapshot of a group in which some sessions are placed and others wait."""
        url = migrated_database.url_as(SCHEDULER)
        size = ("--agents", "10", "--sessions", "120")
        assert command_here.run("demo", "--group", "batch", *size, "--database-url", url).code == 0
        return ("snapshot", "batch", "--database-url", url)

    @pytest.fixture
    def valkey(self) -> Iterator[EmbeddedValkey]:
        with EmbeddedValkey() as server:
            yield server

    def test_a_page_for_people(self, command_here: CommandHere, arguments: tuple[str, ...]) -> None:
        ended = command_here.run(*arguments)
        assert (ended.code, ended.errors) == (0, "")
        assert max(len(line) for line in ended.output.splitlines()) <= 80
        assert "\x1b" not in ended.output
        for expected in (
            "group         batch",
            "snapshot",
            "pending",
            "priority 10",
            "oldest",
            "10 take kernels",
            "cuda.shares",
            "NOT_ENOUGH_FREE",
            "owners nearest their limits",
            "the database in",
        ):
            assert expected in ended.output

    def test_json_is_the_whole_of_it(self, command_here: CommandHere, arguments: tuple[str, ...]) -> None:
        ended = command_here.run(*arguments, "--json")
        data = msgspec.json.decode(ended.output, type=SchedulingData)
        assert 0 < len(data.pending_sessions) < 120
        assert len(data.agents) == 10
        assert data.scaling_group.name == "batch"

    def test_some_staleness_is_answered_from_the_cache(
        self, command_here: CommandHere, arguments: tuple[str, ...], valkey: EmbeddedValkey
    ) -> None:
        # Given an answer that is stored at the end of the first command
        redis = ("--redis-url", valkey.url)
        first = command_here.run(*arguments, *redis, "--json")

        # When
        cached = command_here.run(*arguments, *redis, "--json", "--max-staleness", "50")
        fresh = command_here.run(*arguments, *redis, "--json")

        # Then
        assert cached.output == first.output
        times = [msgspec.json.decode(each.output, type=SchedulingData).observed_at for each in (cached, fresh)]
        assert times[1] - times[0] > timedelta()
        shown = command_here.run(*arguments, *redis, "--max-staleness", "50")
        assert "answered by   the cache" in shown.output

    def test_a_cache_that_is_down_costs_a_warning(
        self, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        redis = ("--redis-url", "redis://127.0.0.1:1")
        ended = command_here.run(*arguments, *redis, "--max-staleness", "5")
        assert ended.code == 0
        assert "cache unreachable" in ended.output
        assert all(line.startswith("warning: ") for line in ended.errors.splitlines())
