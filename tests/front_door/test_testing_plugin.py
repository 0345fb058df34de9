"""The pytest plugin, as a user's project loads it."""

import os
from pathlib import Path

import pytest

from scheduler_repo.testing.prepared_databases import PreparingServer
from tests.support.missing_packages import run_without

PROJECT = """
import time

import pytest

from scheduler_repo import (
    DatabaseUnavailable, ExtendedAsyncSAEngine, OperationKind, Repositories, Resilience, RetryArgs, RetryPolicy,
    ScalingGroupName, ScalingGroupSpec,
)

GROUP = ScalingGroupName("mine")


@pytest.mark.asyncio
@pytest.mark.parametrize("turn", [1, 2])
async def test_database_is_fresh(repositories: Repositories, turn: int) -> None:
    assert not await repositories.scaling_groups.list_scaling_groups()
    await repositories.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
    await repositories.scheduler.get_scheduling_data(GROUP, max_staleness=60)


@pytest.mark.asyncio
async def test_engine_is_theirs(database_engine: ExtendedAsyncSAEngine, repositories: Repositories) -> None:
    assert database_engine is repositories.engine
    async with database_engine.begin_session():
        pass


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_retry_waits")
async def test_retries_wait_for_nothing() -> None:
    tries = 0

    @Resilience([RetryPolicy(RetryArgs(retry_delay=60.0))]).apply(OperationKind.READ)
    async def fail() -> None:
        nonlocal tries
        tries += 1
        raise DatabaseUnavailable("gone") from ConnectionResetError()

    with pytest.raises(DatabaseUnavailable):
        await fail()
    assert tries == 11
"""

SETTINGS = """
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


class TestPlugin:
    def test_a_project_that_loads_it_by_name(
        self,
        tmp_path: Path,
        postgres_server: PreparingServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        # given a project whose async tests are marked one by one; a server is there, which saves time
        (tmp_path / "test_mine.py").write_text(PROJECT)
        (tmp_path / "pytest.ini").write_text(SETTINGS)
        for name in [name for name in os.environ if name.startswith("PYTEST")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("SCHEDULER_REPO_TEST_ADMIN_URL", postgres_server.admin_url)
        monkeypatch.chdir(tmp_path)
        # when it is run, in this process
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "scheduler_repo.testing"])
        # then
        output, errors = capsys.readouterr()
        assert (code, errors) == (0, ""), output + errors
        assert "4 passed" in output

    def test_the_package_itself_needs_no_pytest_and_without_it_the_plugin_says_what_to_install(self) -> None:
        said = run_without(
            "pytest",
            "import scheduler_repo as all\n"
            "for name in dir(all): getattr(all, name)\n"
            "try: import scheduler_repo.testing\n"
            "except all.MissingDependency as error: print(error)\n",
        )
        assert said.strip() == "pytest is not installed; pip install 'scheduler-repo[testing]'"
