"""What the package exports by its own name."""

import ast
import typing
from importlib.metadata import version
from pathlib import Path

import pytest

import scheduler_repo
from scheduler_repo import errors, types


class TestPublicNames:
    def test_every_name_can_be_imported(self) -> None:
        names = dir(scheduler_repo)
        assert [getattr(scheduler_repo, name).__name__ for name in names] == names

    def test_the_type_checker_sees_the_same_names(self) -> None:
        tree = ast.parse(Path(scheduler_repo.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        seen = {alias.asname for node in imports for alias in node.names if alias.asname}
        assert seen == set(dir(scheduler_repo))
        assert scheduler_repo.__version__ == version("scheduler-repo")

    def test_a_name_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = scheduler_repo.no_such_name  # type: ignore[attr-defined] # it is what is tested

    def test_every_id_word_and_error_is_among_them(self) -> None:
        ids = {name for name, kind in vars(types).items() if isinstance(kind, typing.NewType)}
        words = {word.__name__ for word in types.Word.__subclasses__()}
        failures = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type)}
        assert ids | words | failures - {"ClassVar"} <= set(dir(scheduler_repo))
