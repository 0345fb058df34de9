"""Every case of every suite, through the fixture of pytest-benchmark, and what must hold of it.

The fixture times the engine's side; before each of its turns the other sides have theirs.
"""

import asyncio

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data.sizes import SizeName
from bench.measure.results import ENGINE, SuiteResult
from bench.measure.turns import clear_up_side, prepare_side, spare_collector, time_side
from bench.suites.reach import SuiteWalk
from bench.suites.registry import SUITES
from bench.suites.runner import CaseRun
from bench.thresholds import find_missed, load_thresholds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case that the suites have at the size that is asked for."""
    size = SizeName(metafunc.config.getoption("--size"))
    cases = [(suite.name, case) for suite in SUITES.values() for case in suite.case_names(size)]
    metafunc.parametrize(("suite", "case"), cases, ids=[f"{suite}: {case}" for suite, case in cases])


def test_case(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, walk: SuiteWalk, suite: str, case: str
) -> None:
    """Measure a case in turns, and check its thresholds."""
    with spare_collector():
        measure(benchmark, runner, walk, suite, case)


def measure(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, walk: SuiteWalk, suite: str, case: str
) -> None:
    """Let the fixture time the engine's turns, and the other sides have theirs between."""
    run = CaseRun(runner.run(walk.reach(suite, case)), SUITES[suite].turns)
    engine = run.case.sides[ENGINE]
    runner.run(run.turns.warm_up())

    def take_others() -> None:
        for name in run.case.sides:
            if name != ENGINE:
                runner.run(run.turns.take(name))
        runner.run(prepare_side(engine))

    def take_engine() -> None:
        run.turns.note(ENGINE, runner.run(time_side(engine)))

    benchmark.group = suite
    benchmark.pedantic(
        take_engine, setup=take_others, teardown=lambda: runner.run(clear_up_side(engine)), rounds=run.rounds
    )
    result = runner.run(run.finish(walk.results))
    walk.results[case] = result
    benchmark.extra_info.update(result.to_dict())
    size = walk.bench.size_name.value
    assert find_missed(load_thresholds(), SuiteResult(suite, size, {}, (result,))) == []
