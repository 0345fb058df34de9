"""A folder for the servers' directories, and data directories that cost a copy."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_repo.embedded.directory import PrivateDirectory
from scheduler_repo.embedded.postgres import EmbeddedPostgres
from tests.support.shared_folder import shared_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the servers' directories."""
    with shared_folder("embedded-") as path:
        yield path


@pytest.fixture(scope="package", autouse=True)
def _initdb_runs_once() -> Iterator[None]:
    """Have initdb run for the first server of each installation, and what it made copied for the others."""
    run_initdb = EmbeddedPostgres._run_initdb
    made: dict[tuple[object, ...], Path] = {}

    def run_or_copy(server: EmbeddedPostgres, home: PrivateDirectory, binaries: Path, locale: str) -> int:
        key = server._source_binaries(), locale, server._start_timeout
        if key in made:
            _copy(made[key], home.data)
            return 0
        status = run_initdb(server, home, binaries, locale)
        if status == 0:
            made[key] = kept / str(len(made))
            made[key].mkdir()
            _copy(home.data, made[key])
        return status

    with shared_folder("initdb-") as kept, pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedPostgres, "_run_initdb", run_or_copy)
        yield


def _copy(source: Path, target: Path) -> None:
    """Copy what is in a folder, with owners and permissions."""
    subprocess.run(["/bin/cp", "-a", f"{source}/.", str(target)], check=True)
