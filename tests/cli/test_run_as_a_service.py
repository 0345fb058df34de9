"""The unit of systemd and the Dockerfile of the README: what they start, schedules."""

import asyncio
import json
import re
import shlex
import signal
import subprocess
import sys
from configparser import ConfigParser, SectionProxy
from pathlib import Path
from typing import Final

import pytest

from scheduler_repo.connection import open_repositories
from scheduler_repo.loop.pacing import RunSettings
from tests.cli.running import end_with, read_until
from tests.support.command import Command
from tests.support.databases import SCHEDULER, Database
from tests.support.observation import PROJECT_ROOT
from tests.support.small_cluster import agent, cluster, session
from tests.support.waiting import PATIENCE

PORT: Final = "9100"
DISPATCHER: Final = "from tests.cli.parts import Telling as Dispatcher\n"


def file_of_readme(name: str) -> str:
    text = (PROJECT_ROOT / "scheduler_repo" / "cli" / "README.md").read_text("utf-8")
    (found,) = re.findall(rf"<!-- file: {re.escape(name)} -->\n```\w+\n(.+?)```", text, re.DOTALL)
    return str(found)


def unit() -> SectionProxy:
    """The section of the unit that says what is started."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(file_of_readme("scheduler.service"))
    return parser["Service"]


def of_dockerfile(instruction: str) -> list[str]:
    """The words of an instruction that is given as a list."""
    (words,) = re.findall(rf"^{instruction} (\[.+\])$", file_of_readme("Dockerfile"), re.MULTILINE)
    return [str(word) for word in json.loads(words)]


class TestUnit:
    def test_a_stop_has_the_time_that_it_may_need(self) -> None:
        assert int(unit()["TimeoutStopSec"]) > RunSettings().stop_timeout + 12

    def test_wrong_usage_is_not_tried_again(self) -> None:
        assert (unit()["Restart"], unit()["RestartPreventExitStatus"]) == ("on-failure", "2")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["systemd", "docker"])
async def test_it_schedules_and_is_healthy(
    loaded_command: Command, migrated_database: Database, tmp_path: Path, way: str
) -> None:
    # given
    url = migrated_database.url_as(SCHEDULER)
    async with open_repositories(url) as repos:
        await repos.cluster.load_cluster(cluster([agent("a1")], [session(1, 1, 1)]))
    (tmp_path / "agents.py").write_text(DISPATCHER)
    started = shlex.split(unit()["ExecStart"])
    if way == "docker":
        started = of_dockerfile("ENTRYPOINT") + of_dockerfile("CMD")
    program, *arguments = started
    assert Path(program).name == "scheduler-repo"
    free = ["0" if argument == PORT else argument for argument in arguments]
    assert free != arguments

    # when
    def run() -> None:
        process = loaded_command.start(*free, SCHEDULER_REPO_DATABASE_URL=url, PYTHONPATH=str(tmp_path))
        said = read_until(process, "placed 1")
        # then
        (port,) = re.findall(r"http://[\d.]+:(\d+)/metrics", said)
        python, *check = of_dockerfile("HEALTHCHECK CMD")
        assert python == "python"
        # Any other path answers with the metrics.
        assert "/healthz'" in check[-1]
        healthy = [sys.executable, *(word.replace(PORT, port) for word in check)]
        subprocess.run(healthy, check=True, timeout=PATIENCE)
        ended = end_with(process, signal.SIGTERM)
        assert ended.code == 0, ended.errors
        assert "told of 1\n" in ended.output

    await asyncio.to_thread(run)
