"""SIGUSR2 in an event loop: what is called when the process gets it, for as long as a block runs."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from scheduler_repo.errors import InvalidWiring

_NUMBER: Final = signal.SIGUSR2

_Call = tuple[asyncio.AbstractEventLoop, Callable[[], object]]
# Blocks of several loops may end in any order: the first in installs the handler, the last out removes it.
_calls: list[_Call] = []
_former: object = signal.SIG_DFL


@contextmanager
def called_on_sigusr2(call: Callable[[], object]) -> Iterator[None]:
    """Let the running event loop call ``call`` in its next turn after each SIGUSR2, while the block runs.

    All blocks that run are served; what handled the signal before handles it after the last one. Raises
    InvalidWiring outside of the main thread, which alone can be told of signals.
    """
    entry = (asyncio.get_running_loop(), call)
    _install()
    _calls.append(entry)
    try:
        yield
    finally:
        _calls.remove(entry)
        if not _calls:
            signal.signal(_NUMBER, _former)  # type: ignore[arg-type]


def _install() -> None:
    global _former
    if _calls:
        return
    try:
        former = signal.signal(_NUMBER, _receive)
    except ValueError:
        raise InvalidWiring(
            "SIGUSR2 is asked for outside of the main thread, which alone can be told of signals; "
            "run this event loop in the main thread, or do without the signal"
        ) from None
    # None: something that is not Python has handled it, and cannot be given back.
    _former = signal.SIG_DFL if former is None else former


def _receive(_number: int, _frame: object) -> None:
    for loop, call in tuple(_calls):
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)
