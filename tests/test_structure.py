"""How the tests are arranged: what several need is in a module of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
