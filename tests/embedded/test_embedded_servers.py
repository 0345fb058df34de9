"""An embedded PostgreSQL that runs: what it answers, who can reach it, how it ends."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServerError
from scheduler_repo.testing.memory_folder import memory_folder
from tests.support.observation import ask, free_port, listening_tcp_ports, mode_of, needs_root, processes_in

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")
TEXT = 'it\'s a \\ "text" # of\tsix words\\n'


class TestPostgres:
    """One running server, per installation."""

    @pytest.fixture(
        scope="class",
        params=[
            pytest.param(None, id="wheel"),
            pytest.param(
                DEBIAN_BINARIES,
                id="debian-15",
                marks=pytest.mark.skipif(not DEBIAN_BINARIES.is_dir(), reason="no PostgreSQL 15 here"),
            ),
        ],
    )
    @classmethod
    def server(cls, request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
        binaries: Optional[Path] = request.param
        settings = {"embedded.text": TEXT, "max_connections": "40", "application_name": "given"}
        with EmbeddedPostgres(binaries=binaries, settings=settings, parent=memory_folder()) as server:
            yield server

    async def test_sqlalchemy_connects_by_the_url(self, server: EmbeddedPostgres) -> None:
        engine = create_async_engine(server.url("postgres", "postgres"))
        try:
            async with engine.connect() as connection:
                answer = (await connection.execute(text("SELECT current_user"))).scalar_one()
        finally:
            await engine.dispose()

        assert answer == "postgres"

    async def test_url_names_any_role_and_database(self, server: EmbeddedPostgres) -> None:
        await ask(server, 'CREATE ROLE "a b@c/d" LOGIN SUPERUSER')
        await ask(server, 'CREATE DATABASE "x?y #z"')
        engine = create_async_engine(server.url("x?y #z", "a b@c/d"))

        try:
            async with engine.connect() as connection:
                row = (await connection.execute(text("SELECT current_user, current_database()"))).one()
        finally:
            await engine.dispose()

        assert tuple(row) == ("a b@c/d", "x?y #z")

    def test_directory_is_closed_to_others(self, server: EmbeddedPostgres) -> None:
        owner = psutil.Process(server.pid).uids().real

        assert {child.name for child in server.directory.iterdir()} == {"data", "socket", "log"}
        for path in (server.directory / "data", server.socket_directory):
            assert (mode_of(path), path.stat().st_uid) == (0o700, owner)
        # what is the caller's own stays so, and nobody else may list it
        assert server.directory.stat().st_uid == os.geteuid()
        assert mode_of(server.directory) == (0o700 if owner == os.geteuid() else 0o710)
        assert mode_of(server.log_file) == 0o600
        assert mode_of(server.socket_directory / ".s.PGSQL.5432") == 0o700

    @needs_root
    def test_root_is_left_behind(self, server: EmbeddedPostgres) -> None:
        process = psutil.Process(server.pid)

        assert process.username() == "nobody"
        assert set(process.gids()) == {process.gids().real} != {0}
        status = Path(f"/proc/{server.pid}/status").read_text()
        groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
        assert groups.split() == ["Groups:"]

    def test_there_is_no_tcp(self, server: EmbeddedPostgres) -> None:
        assert listening_tcp_ports(server.pid) == set()
        assert server.port == 5432

    def test_it_has_a_session_of_its_own(self, server: EmbeddedPostgres) -> None:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)

    def test_callers_environment_is_not_handed_on(self, server: EmbeddedPostgres) -> None:
        assert set(psutil.Process(server.pid).environ()) <= {
            *("PATH", "LC_ALL", "LD_LIBRARY_PATH"),
            *("PGDATA", "PG_GRANDPARENT_PID", "PGSYSCONFDIR", "PGLOCALEDIR"),
        }

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("embedded.text", TEXT),
            ("max_connections", "40"),
            ("shared_buffers", "256MB"),
            ("server_encoding", "UTF8"),
            ("lc_messages", "C.UTF-8"),
            ("TimeZone", "UTC"),
        ],
    )
    async def test_settings_arrive(self, server: EmbeddedPostgres, setting: str, value: str) -> None:
        assert await ask(server, f"SELECT current_setting('{setting}')") == value

    async def test_socket_asks_no_password_and_tcp_would(self, server: EmbeddedPostgres) -> None:
        rules = "SELECT string_agg(DISTINCT type || ':' || auth_method, ' ') FROM pg_hba_file_rules"

        # an older server's map cannot name all roles
        local = "trust" if server.psql == DEBIAN_BINARIES / "psql" else "peer"
        assert await ask(server, rules) == f"host:scram-sha-256 local:{local}"

    async def test_alter_system_changes_a_given_setting(self, server: EmbeddedPostgres) -> None:
        # one that no other test looks at
        await ask(server, "ALTER SYSTEM SET application_name = 'altered'")
        server.restart()

        assert await ask(server, "SELECT current_setting('application_name')") == "altered"
        assert await ask(server, "SELECT current_setting('embedded.text')") == TEXT

    def test_a_second_start_is_refused(self, server: EmbeddedPostgres) -> None:
        pid = server.pid

        with pytest.raises(EmbeddedServerError, match=f"runs already .pid {pid}"):
            server.start()

        assert server.pid == pid

    # Others' threads, such as that of the shared server, are no matter to a copy that ends at once.
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_a_forked_copy_cannot_end_it(self, server: EmbeddedPostgres) -> None:
        child = os.fork()
        if child == 0:
            server.stop()
            server.remove()
            os._exit(0)
        os.waitpid(child, 0)

        assert server.running
        assert server.directory.is_dir()

    def test_psql_is_the_servers_own(self, server: EmbeddedPostgres) -> None:
        psql = server.psql
        assert psql is not None

        answer = subprocess.run(
            [psql, "-XAt", "-h", server.socket_directory, "-U", "postgres", "-c", "SELECT 41 + 1"],
            capture_output=True,
            check=True,
        )

        assert answer.stdout == b"42\n"


class TestPostgresLife:
    """Starts, crashes and ends."""

    @pytest.fixture
    def server(self, folder: Path) -> Iterator[EmbeddedPostgres]:
        with EmbeddedPostgres(parent=folder) as server:
            yield server

    @pytest.mark.parametrize("ending", ["fast", "immediate", "killed"])
    async def test_committed_data_outlive_an_end(self, server: EmbeddedPostgres, ending: str) -> None:
        await ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
        first_pid, directory = server.pid, server.directory

        if ending == "killed":
            server_end = os.pidfd_open(first_pid)
            os.kill(first_pid, signal.SIGKILL)
            select.select([server_end], [], [], 10)
            os.close(server_end)
        else:
            server.stop("fast" if ending == "fast" else "immediate")
        assert not server.running
        server.start()

        assert await ask(server, "SELECT number FROM kept") == 7
        assert server.pid != first_pid
        assert server.directory == directory
        was_crash = (
            "was interrupted" in server.log_file.read_text() or "not properly" in server.log_file.read_text()
        )
        assert was_crash == (ending != "fast")

    def test_a_paused_server_can_be_stopped(self, server: EmbeddedPostgres) -> None:
        os.kill(server.pid, signal.SIGSTOP)

        server.stop("immediate")

        assert not server.running

    def test_stop_leaves_no_process_and_remove_nothing_and_both_may_be_repeated(
        self, server: EmbeddedPostgres, folder: Path
    ) -> None:
        server.stop()
        server.stop()

        assert processes_in(folder) == []
        with pytest.raises(EmbeddedServerError, match="does not run"):
            _ = server.pid

        server.start()
        server.remove()
        server.remove()

        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []
        with pytest.raises(EmbeddedServerError, match="never started, or it was removed"):
            _ = server.directory

    def test_a_failed_later_start_keeps_the_data(self, server: EmbeddedPostgres) -> None:
        server.stop()
        socket_directory = server.socket_directory
        socket_directory.rmdir()

        with pytest.raises(EmbeddedServerError, match="could not create"):
            server.start()

        assert (server.directory / "data" / "PG_VERSION").is_file()
        assert not server.running

    def test_keep_keeps_the_directory(self, folder: Path) -> None:
        with EmbeddedPostgres(parent=folder, keep=True) as server:
            directory = server.directory

        assert (directory / "data" / "PG_VERSION").is_file()
        assert processes_in(folder) == []
        server.remove()
        assert not directory.exists()

    def test_an_error_in_the_block_removes_as_well(self, folder: Path) -> None:
        with pytest.raises(ZeroDivisionError), EmbeddedPostgres(parent=folder):
            _ = 1 // 0

        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []


class TestPostgresPort:
    """TCP, where it is asked for."""

    async def test_tcp_is_loopback_with_a_password(self, folder: Path) -> None:
        port = free_port()
        with EmbeddedPostgres(parent=folder, port=port) as server:
            assert server.port == port
            assert listening_tcp_ports(server.pid) == {port}
            await ask(server, "CREATE ROLE caller LOGIN PASSWORD 'secret'")

            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(
                    host="127.0.0.1", port=port, user="caller", database="postgres", password="x"
                )
            connection = await asyncpg.connect(
                host="127.0.0.1", port=port, user="caller", database="postgres", password="secret"
            )
            await connection.close()

    def test_a_port_in_use_is_refused(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            with pytest.raises(EmbeddedServerError, match=f"127.0.0.1:{port}.*in use.*another port") as raised:
                EmbeddedPostgres(parent=folder, port=port).start()

        assert "\n" not in str(raised.value)
        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []

    @pytest.mark.parametrize("port", [0, -1, 65536])
    def test_an_impossible_port_is_refused(self, folder: Path, port: int) -> None:
        with pytest.raises(EmbeddedServerError, match="a port is 1 to 65535"):
            EmbeddedPostgres(parent=folder, port=port).start()
