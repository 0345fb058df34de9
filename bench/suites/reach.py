"""Cases of suites, one after the other as somebody asks for them, such as a test runner."""

from collections.abc import AsyncGenerator
from typing import Optional

from bench.measure.results import CaseResult
from bench.suites.registry import SUITES
from bench.suites.suite import Bench, Case


class SuiteWalk:
    """Walks through the suites in their order; cases that nobody asks for are prepared but not measured."""

    def __init__(self, bench: Bench) -> None:
        """Begin no suite yet."""
        self.bench = bench
        self._suite: Optional[str] = None
        self._cases: Optional[AsyncGenerator[Case, None]] = None
        self.results: dict[str, CaseResult] = {}

    async def reach(self, suite: str, name: str) -> Case:
        """Go on to a case, and begin its suite anew if it lies behind; raises LookupError for none."""
        if self._suite != suite or self._cases is None:
            await self._begin(suite)
        for _ in range(2):
            case = await self._find(name)
            if case is not None:
                return case
            await self._begin(suite)
        raise LookupError(f"suite {suite} has no case {name!r}")

    async def close(self) -> None:
        """End the suite that is under way, and remove its clusters."""
        if self._cases is not None:
            await self._cases.aclose()
        self._suite = self._cases = None

    async def _begin(self, suite: str) -> None:
        await self.close()
        self.results = {}
        self._suite, self._cases = suite, SUITES[suite].cases(self.bench)

    async def _find(self, name: str) -> Optional[Case]:
        if self._cases is not None:
            async for case in self._cases:
                if case.name == name:
                    return case
        return None
