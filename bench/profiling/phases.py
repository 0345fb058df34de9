"""The phase table of a call: what it waited for, and the Python between, from the events of several turns."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, Optional

import msgspec

from bench.profiling.trace import COMMIT, OUTSIDE, PLAN, READ, Event

TRANSFORM: Final = "transform"
_BETWEEN: Final = "Python between the statements"
# A shorter piece of Python is counted with the others of its section.
_LEAST_SHARE: Final = 0.01
_MILLISECONDS: Final = 1000


class Turn(msgspec.Struct, frozen=True):
    """One call: when it began and ended (seconds), and what happened meanwhile."""

    started: float
    ended: float
    events: tuple[Event, ...]


class Phase(msgspec.Struct, frozen=True):
    """One row of the table: times are of all its ``calls`` in one turn, medians over the turns.

    ``section`` says in which transaction, "read" or "write", and is empty outside of one. ``server_ms`` is None
    where the server does not say it, as for Python.
    """

    section: str
    name: str
    calls: float
    wall_ms: float
    server_ms: Optional[float] = None
    rows: Optional[float] = None
    received: Optional[float] = None
    is_python: bool = False

    @property
    def label(self) -> str:
        """The name with its section."""
        return f"{self.section}: {self.name}" if self.section else self.name

    @property
    def client_ms(self) -> Optional[float]:
        """What the caller waited beyond the server's work: the wire, and the driver's decoding."""
        return None if self.server_ms is None else max(0.0, self.wall_ms - self.server_ms)


class _Piece(msgspec.Struct, frozen=True):
    key: tuple[str, str]
    wall: float
    event: Optional[Event] = None


def make_phases(turns: Sequence[Turn], parts: float = 1) -> tuple[Phase, ...]:
    """Make the table of several turns of a call, one at least; ``parts`` is the part of a turn that counts."""
    total = median(turn.ended - turn.started for turn in turns)
    pieces = [list(_cut(turn)) for turn in turns]
    small = _find_small(pieces, total * _LEAST_SHARE)
    order: dict[tuple[str, str], None] = {}
    sums: list[dict[tuple[str, str], list[_Piece]]] = []
    for of_turn in pieces:
        found: dict[tuple[str, str], list[_Piece]] = {}
        for piece in of_turn:
            key = (piece.key[0], _BETWEEN) if piece.key in small else piece.key
            order.setdefault(key)
            found.setdefault(key, []).append(piece)
        sums.append(found)
    last = [key for key in order if key[1] == _BETWEEN]
    keys = [key for key in order if key[1] != _BETWEEN] + last
    return tuple(_sum_up(key, [found.get(key, []) for found in sums], parts) for key in keys)


def _cut(turn: Turn) -> Iterator[_Piece]:
    """Cut a turn into what happened and the Python between."""
    at, before = turn.started, None
    for event in sorted(turn.events, key=lambda event: (event.started, event.ended)):
        if event.started > at:
            yield _Piece(_name_gap(before, event), event.started - at)
        yield _Piece((event.section, event.name), event.ended - event.started, event)
        at, before = max(at, event.ended), event
    if turn.ended > at:
        yield _Piece(_name_gap(before, None), turn.ended - at)


def _name_gap(before: Optional[Event], after: Optional[Event]) -> tuple[str, str]:
    if before is not None and before.section == READ and before.name == COMMIT:
        return READ, TRANSFORM
    if (
        after is not None
        and after.section != OUTSIDE
        and before is not None
        and before.section == after.section
    ):
        # What works out a statement's parameters, such as the gate of a batch.
        return (
            (after.section, f"Python before {after.name}")
            if before.name != COMMIT
            else (OUTSIDE, _between(before))
        )
    return OUTSIDE, "Python before all else" if before is None else _between(before)


def _between(before: Event) -> str:
    return f"Python after {before.section} {before.name}" if before.section else f"Python after {before.name}"


def _find_small(pieces: Sequence[Sequence[_Piece]], least: float) -> set[tuple[str, str]]:
    """Find the Python that takes less than ``least`` seconds a turn."""
    sums: dict[tuple[str, str], float] = {}
    for of_turn in pieces:
        for piece in of_turn:
            if piece.event is None and piece.key[1] != TRANSFORM:
                sums[piece.key] = sums.get(piece.key, 0.0) + piece.wall
    return {key for key, wall in sums.items() if wall / len(pieces) < least}


def _sum_up(key: tuple[str, str], turns: Sequence[Sequence[_Piece]], parts: float) -> Phase:
    section, name = key
    events = [[piece.event for piece in pieces if piece.event is not None] for pieces in turns]
    is_python = not any(events) or name == PLAN
    return Phase(
        section,
        name,
        calls=_figure(median(map(len, turns)), parts),
        wall_ms=_figure(median(sum(piece.wall for piece in pieces) for pieces in turns), parts * _MILLISECONDS),
        server_ms=_median_of(
            [[event.server_seconds for event in of_turn] for of_turn in events], parts * _MILLISECONDS
        ),
        rows=_median_of([[event.rows for event in of_turn] for of_turn in events], parts),
        received=_median_of([[event.received for event in of_turn] for of_turn in events], parts),
        is_python=is_python,
    )


def _median_of(turns: Sequence[Sequence[Optional[float]]], factor: float) -> Optional[float]:
    """Return the median of the turns' sums, None if any figure of any turn is not known."""
    if not any(turns) or any(figure is None for figures in turns for figure in figures):
        return None
    return _figure(median(sum(figure for figure in figures if figure is not None) for figures in turns), factor)


def _figure(figure: float, factor: float) -> float:
    return round(figure * factor, 6)
