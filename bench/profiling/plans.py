"""Asks the server how it runs each statement as the method sends it: same parameters, same transaction.

Just before a statement is sent, it is explained in a savepoint of the same transaction, which is rolled back.
"""

import re
from collections.abc import Sequence
from typing import Final, Optional

import msgspec

from bench.profiling.trace import SentStatement

_SAVEPOINT: Final = "SAVEPOINT profile"
_UNDO: Final = ("ROLLBACK TO SAVEPOINT profile", "RELEASE SAVEPOINT profile")
_SHOWN: Final = "EXPLAIN (ANALYZE, BUFFERS, SETTINGS) "
# Nothing looks at the clock in each node, and the rows are put into the form that they are sent in.
_TIMED: Final = "EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF) "
_TIMED_AS_SENT: Final = "EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, SERIALIZE BINARY) "
_SERIALIZE_SINCE: Final = 17
_TIME: Final = re.compile(r"^(?:Planning|Execution) Time: ([0-9.]+) ms", re.MULTILINE)
_LONGEST: Final = 60


class StatementPlan(msgspec.Struct, frozen=True):
    """How the server ran one statement the first time that a turn sent it.

    ``work_ms`` is its planning, execution and serialization, without sending; of all times of a turn together.
    """

    section: str
    name: str
    text: str
    parameters: tuple[str, ...]
    plan: str
    calls: int
    work_ms: float


class PlanCollector:
    """Explains every statement that passes; the first of each name is kept with its plan."""

    def __init__(self) -> None:
        """Nothing has passed yet."""
        self._found: dict[tuple[str, str], StatementPlan] = {}

    @property
    def plans(self) -> tuple[StatementPlan, ...]:
        """What was explained, in the order that it was first sent in."""
        return tuple(self._found.values())

    async def explain(self, sent: SentStatement) -> None:
        """Explain a statement where it is about to run, and leave no trace of that in its transaction."""
        version = sent.connection.get_server_version().major
        timed = _TIMED_AS_SENT if version >= _SERIALIZE_SINCE else _TIMED
        before = self._found.get((sent.section, sent.name))
        plan = before.plan if before is not None else await _explain(_SHOWN, sent)
        work_ms = sum(float(time) for time in _TIME.findall(await _explain(timed, sent)))
        if before is None:
            shown = tuple(map(show_parameter, sent.parameters))
            found = StatementPlan(sent.section, sent.name, sent.text, shown, plan, 1, work_ms)
        else:
            found = msgspec.structs.replace(before, calls=before.calls + 1, work_ms=before.work_ms + work_ms)
        self._found[sent.section, sent.name] = found


def scaled(plans: Sequence[StatementPlan], parts: float) -> tuple[StatementPlan, ...]:
    """Return plans whose times are of the part of a turn that counts."""
    return tuple(msgspec.structs.replace(each, work_ms=each.work_ms * parts) for each in plans)


async def _explain(options: str, sent: SentStatement) -> str:
    in_transaction = sent.connection.is_in_transaction()
    if in_transaction:
        await sent.connection.run_unseen(_SAVEPOINT)
    rows = await sent.connection.run_unseen(f"{options}{sent.text}", *sent.parameters)
    if in_transaction:
        for statement in _UNDO:
            await sent.connection.run_unseen(statement)
    return "\n".join(row[0] for row in rows)


def show_parameter(value: object) -> str:
    """Show a parameter in a few words: what it is, or how many there are and the first of them."""
    if isinstance(value, (list, tuple)):
        first = f", the first is {_shortened(value[0])}" if value else ""
        return f"{len(value):,} values{first}"
    return _shortened(value)


def _shortened(value: Optional[object]) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
