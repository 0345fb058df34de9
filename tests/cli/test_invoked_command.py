"""Printed commands work as they are pasted, whatever PATH there is."""

import shlex
import sys
from pathlib import Path

import pytest

import scheduler_repo.cli
from scheduler_repo.cli.process.invocation import find_invoked_command


class TestInvokedCommand:
    @pytest.fixture
    def script(self, tmp_path: Path) -> Path:
        """An installed command, in a folder whose name needs quotes."""
        path = tmp_path / "my bin" / "scheduler-repo"
        path.parent.mkdir()
        path.touch(mode=0o755)
        return path

    def test_a_path_is_kept(self, monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
        monkeypatch.setattr(sys, "argv", [str(script), "demo"])
        assert find_invoked_command() == shlex.quote(str(script))

    def test_a_path_from_here_serves_elsewhere(self, monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
        monkeypatch.chdir(script.parent)
        monkeypatch.setattr(sys, "argv", ["./scheduler-repo", "demo"])
        assert find_invoked_command() == shlex.quote(str(script))

    def test_a_name_is_looked_up(self, monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
        monkeypatch.setenv("PATH", str(script.parent))
        monkeypatch.setattr(sys, "argv", ["scheduler-repo", "demo"])
        assert find_invoked_command() == shlex.quote(str(script))

    def test_a_name_that_nothing_has_stays(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "argv", ["scheduler-repo", "demo"])
        assert find_invoked_command() == "scheduler-repo"

    def test_a_module_is_run_by_the_same_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = Path(scheduler_repo.cli.__file__).with_name("__main__.py")
        monkeypatch.setattr(sys, "argv", [str(module), "demo"])
        assert find_invoked_command() == f"{shlex.quote(sys.executable)} -m scheduler_repo.cli"
