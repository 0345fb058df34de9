"""Imports lead downwards and never in a circle: the contracts in pyproject.toml, read by import-linter."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_ERROR, EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
UPSIDE_DOWN = """
[importlinter]
root_package = scheduler_repo

[importlinter:contract:layers]
name = upside down
type = layers
layers =
    scheduler_repo.entities
    scheduler_repo.repositories
"""


@pytest.fixture(autouse=True)
def loggers_that_stay_on() -> Iterator[None]:
    """The linter switches off all loggers of the process, in which later tests look at what is logged."""
    known = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    were_on = [logger for logger in known if not logger.disabled]
    yield
    for logger in were_on:
        logger.disabled = False


class TestLayers:
    def test_every_contract_is_kept(self, capsys: pytest.CaptureFixture[str]) -> None:
        status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)

        printed = capsys.readouterr().out
        assert status == EXIT_STATUS_SUCCESS, printed
        assert "Contracts: 3 kept, 0 broken" in printed

    def test_an_arrow_upwards_is_seen(self, tmp_path: Path) -> None:
        config = tmp_path / "upside_down.ini"
        config.write_text(UPSIDE_DOWN)

        assert lint_imports(config_filename=str(config), no_cache=True) == EXIT_STATUS_ERROR
