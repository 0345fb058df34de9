"""How the tests are arranged: what several need is in a module of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def nodes_of(path: Path, *words: str) -> Iterator[ast.AST]:
    """Every node of a module that has one of these words; most have none and are not parsed."""
    source = path.read_text(encoding="utf-8")
    if any(word in source for word in words):
        yield from ast.walk(ast.parse(source))


def imported_modules(path: Path) -> Iterator[str]:
    for node in nodes_of(path, "import"):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


class TestImports:
    def test_nothing_is_imported_from_a_test_module_or_a_conftest(self) -> None:
        wrong = [
            f"{path.relative_to(TESTS)} imports {module}"
            for path in TESTS.rglob("*.py")
            for module in imported_modules(path)
            if module.startswith("tests.") and module.split(".")[-1].startswith(("test_", "conftest"))
        ]
        assert wrong == []


def bounds(path: Path) -> Iterator[tuple[int, ast.expr]]:
    """Where a module bounds a wait of its own, and by what."""
    for node in nodes_of(path, "timeout", "wait_for", "communicate", "urlopen"):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            bound = given.get("timeout")
            if node.func.attr == "timeout" and node.args and ast.unparse(node.func.value) == "asyncio":
                bound = node.args[0]
            elif node.func.attr == "wait_for" and len(node.args) == 2:
                bound = node.args[1]
            if bound is not None and node.func.attr in ("timeout", "wait_for", "communicate", "urlopen"):
                yield node.lineno, bound


# There the bound is what is tested.
SHORT_BOUNDS = {"tests/faults/test_errors_of_the_body.py": "0.05"}


class TestWaits:
    def test_what_must_come_has_time_on_a_busy_machine_too(self) -> None:
        """A bound of one's own is a number that some machine exceeds; PATIENCE is what a test waits."""
        wrong = [
            f"{place}:{line} waits for {ast.unparse(bound)} s"
            for path in TESTS.rglob("*.py")
            for line, bound in bounds(path)
            if isinstance(bound, ast.Constant) and isinstance(bound.value, (int, float))
            if (place := f"tests/{path.relative_to(TESTS)}") and SHORT_BOUNDS.get(place) != ast.unparse(bound)
        ]
        assert wrong == []

    def test_no_fast_test_says_how_long_something_may_take(self) -> None:
        """Durations of a busy machine prove nothing: count what is done, or wait for it with a bound."""
        clocks = ("monotonic()", "perf_counter()", "time.time()")
        wrong = [
            f"tests/{path.relative_to(TESTS)}:{node.lineno}"
            for path in TESTS.rglob("test_*.py")
            for node in nodes_of(path, *clocks)
            if isinstance(node, ast.Assert)
            and any(clock in ast.unparse(node.test) for clock in clocks)
            and "PATIENCE" not in ast.unparse(node.test)
            and "deadline" not in ast.unparse(node.test)
        ]
        assert wrong == []
