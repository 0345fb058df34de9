"""The command line under test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Command, CommandHere


@pytest.fixture
def command() -> Iterator[Command]:
    """The real command, with a folder that every account can enter for its servers."""
    folder = Path(tempfile.mkdtemp(prefix="cli-", dir="/tmp"))
    folder.chmod(0o755)
    yield Command(folder)
    shutil.rmtree(folder)


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandHere:
    """The same command in this process, where neither a start of its own nor its end matters."""
    return CommandHere(monkeypatch, capsys)
