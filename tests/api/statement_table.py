"""How many statements each public method of a repository sends, and how to ask it about 1 or 100 entities.

BEGIN and COMMIT are counted too: they are round trips. A method that is not in the table fails a test.
"""

import importlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from tests.api.world import World

# Brings about what a call needs, and makes the call; whoever awaits it is counted.
Prepare: TypeAlias = Callable[[World, int], Awaitable[Awaitable[object]]]


class Case(msgspec.Struct, frozen=True):
    """One public method: its statements, and how to ask it about so many entities."""

    label: str
    statements: int
    prepare: Prepare

    @property
    def method(self) -> str:
        """The label of the method, whatever the situation."""
        return self.label.partition(",")[0]


CASES: Final[dict[str, Case]] = {}


def costs(label: str, statements: int) -> Callable[[Prepare], Prepare]:
    """Enter a method into the table; after a comma the label says in which of several situations it is."""

    def enter(prepare: Prepare) -> Prepare:
        assert label not in CASES, f"{label} is in the table twice"
        CASES[label] = Case(label, statements, prepare)
        return prepare

    return enter


def fill_table() -> None:
    """Import every module that enters methods into the table."""
    for module in sorted(Path(__file__).parent.glob("costs_of_*.py")):
        importlib.import_module(f"tests.api.{module.stem}")
