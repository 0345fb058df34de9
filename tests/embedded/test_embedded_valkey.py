"""An embedded Valkey."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from scheduler_repo.embedded import EmbeddedServerError, EmbeddedValkey
from tests.support.observation import listening_tcp_ports, mode_of, processes_in


class TestValkey:
    """A cache without TCP and without files."""

    @pytest.fixture
    def server(self, folder: Path) -> Iterator[EmbeddedValkey]:
        with EmbeddedValkey(parent=folder, settings={"maxmemory": "64mb"}) as server:
            yield server

    async def test_redis_connects_by_the_url(self, server: EmbeddedValkey) -> None:
        client = Redis.from_url(server.url)
        try:
            await client.set("key", b"value")
            kept = await client.get("key")
            settings = await client.config_get("maxmemory", "save", "appendonly", "port")
        finally:
            await client.aclose()

        assert kept == b"value"
        assert settings == {"maxmemory": str(64 << 20), "save": "", "appendonly": "no", "port": "0"}

    def test_there_is_no_tcp(self, server: EmbeddedValkey) -> None:
        assert listening_tcp_ports(server.pid) == set()

    def test_directory_is_closed_to_others(self, server: EmbeddedValkey) -> None:
        for path in (server.directory, server.socket_directory, server.socket_file):
            assert (mode_of(path), path.stat().st_uid) == (0o700, os.geteuid())
        assert os.getsid(server.pid) == server.pid

    @pytest.mark.parametrize("is_paused", [False, True])
    async def test_a_restart_forgets_the_data(self, server: EmbeddedValkey, is_paused: bool) -> None:
        client = Redis.from_url(server.url)
        await client.set("key", b"value")
        await client.aclose()
        if is_paused:
            os.kill(server.pid, signal.SIGSTOP)

        server.restart("fast")

        client = Redis.from_url(server.url)
        assert await client.dbsize() == 0
        await client.aclose()

    def test_a_killed_server_starts_again(self, server: EmbeddedValkey) -> None:
        server.stop("immediate")
        assert not server.running
        server.start()

        assert server.running

    def test_remove_leaves_nothing(self, server: EmbeddedValkey, folder: Path) -> None:
        server.remove()

        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []

    def test_a_password_does_not_hide_that_it_is_ready(self, folder: Path) -> None:
        with EmbeddedValkey(parent=folder, settings={"requirepass": "secret"}) as server:
            assert server.running

    def test_a_failed_start_shows_the_log(self, folder: Path) -> None:
        with pytest.raises(EmbeddedServerError, match=r"(?s)ended with status 1.*maxmemory"):
            EmbeddedValkey(parent=folder, settings={"maxmemory": "plenty"}).start()

        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"port": "6379"}, "leave it out"),
            ({"save\n": ""}, "leave it out"),
            ({"maxmemory": "--x"}, "command line"),
        ],
    )
    def test_a_setting_that_cannot_be_is_refused(
        self, folder: Path, settings: dict[str, str], reason: str
    ) -> None:
        with pytest.raises(EmbeddedServerError, match=reason):
            EmbeddedValkey(parent=folder, settings=settings).start()

    def test_the_binary_must_be_there(self, folder: Path) -> None:
        with pytest.raises(EmbeddedServerError, match="redis-server, which is not a program"):
            EmbeddedValkey(parent=folder, binary=folder / "redis-server").start()

    def test_another_binary_is_used(self, server: EmbeddedValkey, folder: Path) -> None:
        binary = folder / "redis-server"
        binary.symlink_to(psutil.Process(server.pid).exe())

        with EmbeddedValkey(parent=folder, binary=binary) as other:
            assert psutil.Process(other.pid).cmdline()[0].startswith(str(binary))
