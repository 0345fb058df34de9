"""Cleaning up to the end, whoever cancels meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Optional


async def run_to_end(cleanup: Coroutine[None, None, None]) -> None:
    """Run a bounded clean-up to its end, whoever cancels the caller meanwhile; then pass the cancel on."""
    task = asyncio.ensure_future(cleanup)
    cancelled: Optional[asyncio.CancelledError] = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Whatever became of the clean-up: a cancel, or a deadline, that is lost would let the caller go on.
        raise cancelled from task.exception()
    task.result()
