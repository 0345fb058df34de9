"""Who owns what root runs: the account of an embedded server can change its data, and none of its programs."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_repo.cli.demo.summary import describe_kept_servers
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey, postgres
from scheduler_repo.types import ScalingGroupName
from tests.support.observation import ask, mode_of, needs_root
from tests.support.shared_folder import shared_folder

# Tries everything as another account, and prints what it could do.
_ATTACK = """
import os, sys
for root, folders, files in os.walk(sys.argv[1], onerror=lambda error: None):
    for name in folders + files:
        path = os.path.join(root, name)
        for what, attempt in (
            ("rename", lambda: os.rename(path, path + ".gone")),
            ("write", lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND))),
            ("mode", lambda: os.chmod(path, 0o777)),
            ("plant", lambda: os.close(os.open(os.path.join(path, "x"), os.O_CREAT | os.O_EXCL))),
        ):
            try:
                attempt()
            except OSError:
                continue
            print(what, path)
"""


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def ways_to(path: Path) -> Iterator[Path]:
    """A file that root runs, and every folder on the way to it, links followed as the system does."""
    for each in {path, path.resolve()}:
        yield each
        yield from each.parents


def can_replace(path: Path, uid: int, gid: int) -> bool:
    """Whether an account can write to a file or a folder; one with the sticky bit keeps what others own."""
    found = path.stat()
    writers = (found.st_uid == uid, found.st_gid == gid and found.st_mode & stat.S_IWGRP)
    is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return bool(any(writers) or (found.st_mode & stat.S_IWOTH and not is_sticky))


@needs_root
class TestOwners:
    @pytest.fixture(scope="class", params=["programs where they are", "programs copied"])
    @classmethod
    def server(cls, request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
        with shared_folder("embedded-") as folder, pytest.MonkeyPatch.context() as patch:
            if request.param == "programs copied":
                # as if the wheel lay below a home that only root can enter
                can_run = postgres._can_run
                patch.setattr(
                    postgres,
                    "_can_run",
                    lambda home, found: home.path in found.parents and can_run(home, found),
                )
            with EmbeddedPostgres(parent=folder) as server:
                yield server

    def test_the_servers_account_owns_data_socket_and_log_alone(self, server: EmbeddedPostgres) -> None:
        nobody = (server.directory / "data").stat().st_uid
        assert nobody != 0
        theirs = {path.name for path in server.directory.iterdir() if path.stat().st_uid == nobody}
        assert theirs == {"data", "socket", "log"}
        for path in server.directory.rglob("*"):
            part = path.relative_to(server.directory).parts[0]
            if part not in theirs:
                assert (path.lstat().st_uid, path.lstat().st_mode & 0o022 * (not path.is_symlink())) == (
                    0,
                    0,
                ), path

    def test_every_program_that_root_runs_and_the_way_to_it_is_roots(self, server: EmbeddedPostgres) -> None:
        # given
        account = (server.directory / "data").stat()
        psql = server.psql
        assert psql is not None
        with EmbeddedValkey(parent=server.directory.parent) as valkey:
            said = describe_kept_servers(server, valkey, ScalingGroupName("gpu"), has_tcp=False)
            # when: what the demo tells people to run, and what runs as root itself
            named = {Path(word.strip("'")) for word in said.split() if word.startswith("/")}
            run_by_root = {path for path in named if path.is_file() and os.access(path, os.X_OK)}
            assert psql in run_by_root
            run_by_root |= {Path(f"/proc/{valkey.pid}/exe").resolve(), Path(sys.executable)}
            programs = {*psql.parent.iterdir(), *run_by_root}
            # then
            for program in programs:
                for path in ways_to(program):
                    assert not can_replace(path, account.st_uid, account.st_gid), path

    def test_nobody_tries_in_vain(self, server: EmbeddedPostgres) -> None:
        # given: a sibling that it could rename everything into
        attacked = as_nobody("/usr/bin/python3", "-c", _ATTACK, str(server.directory.parent))
        # then
        done = {line.partition(" ")[2] for line in attacked.stdout.splitlines()}
        inside = {str(server.directory / name) for name in ("data", "socket", "log")}
        assert {path for path in done if not path.startswith(tuple(inside))} == set(), attacked.stdout
        assert not (done & inside), "it can change what is in them, and cannot put others in their place"

    def test_who_is_at_the_socket_is_asked_of_the_system(self, server: EmbeddedPostgres) -> None:
        # given
        rules = asyncio.run(ask(server, "SELECT string_agg(type || auth_method, ' ') FROM pg_hba_file_rules"))
        assert "trust" not in str(rules)
        # then: the map, not the folder, keeps another account out
        way = (server.directory, server.socket_directory, server.socket_directory / ".s.PGSQL.5432")
        modes = [mode_of(path) for path in way]
        for path in way:
            path.chmod(0o777)
        command = [
            str(server.psql),
            "-XAt",
            "-h",
            str(server.socket_directory),
            "-U",
            "postgres",
            "-c",
            "SELECT 7",
        ]
        refused = subprocess.run(
            command,
            user="daemon",
            group="daemon",
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        for path, mode in zip(way, modes, strict=True):
            path.chmod(mode)
        assert refused.stdout == ""
        assert "Peer authentication failed" in refused.stderr or "Permission denied" in refused.stderr

    def test_a_link_or_a_pipe_in_place_of_a_file_is_not_read(self, server: EmbeddedPostgres) -> None:
        planted = server.directory / "data" / "postmaster.pid"
        kept = planted.read_bytes()
        planted.unlink()
        home = server._existing_home()
        for plant in ("link", "pipe"):
            if plant == "link":
                planted.symlink_to("/dev/zero")
            else:
                os.mkfifo(planted)
            with pytest.raises(OSError, match=r"symbolic links|regular file"):
                home.read_part(planted)
            planted.unlink()
        planted.write_bytes(kept)
