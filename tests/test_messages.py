"""How errors are worded: one advice each, and the right articles."""

import ast
import copy
import pickle
from pathlib import Path
from uuid import uuid4

import pytest

import scheduler_repo
from scheduler_repo.errors import PermissionDenied, SchedulerRepoError, SessionNotFound
from scheduler_repo.quoting import with_article
from scheduler_repo.types import OwnerScope, SessionId
from scheduler_repo.validation import check_kind

PACKAGE = Path(scheduler_repo.__file__).parent


class TestAdvice:
    def test_it_ends_the_message(self) -> None:
        error = SessionNotFound("there is no session 7", advice="correct the id")
        assert str(error) == "there is no session 7; correct the id"
        assert (error.found, error.advice) == ("there is no session 7", "correct the id")

    def test_whoever_knows_better_replaces_it(self) -> None:
        session_id = SessionId(uuid4())
        error = SessionNotFound("there is no session 7", advice="correct the id", session_id=session_id)
        other = error.with_message(f"here, {error.found}", "list them")
        assert str(other) == "here, there is no session 7; list them"
        assert str(error) == "there is no session 7; correct the id"
        assert other.session_id == session_id
        assert type(other) is SessionNotFound

    @pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301
    def test_a_copy_is_the_same(self, duplicate: "object") -> None:
        error = PermissionDenied("denied\n", advice="ask\x1b somebody")
        other = duplicate(error)  # type: ignore[operator] # one of the two above
        assert str(other) == str(error) == r"denied\n; ask\x1b somebody"
        assert (other.found, other.advice) == (error.found, error.advice)

    def test_without_one_there_is_none(self) -> None:
        error = SchedulerRepoError("it failed; try again")
        assert (error.found, error.advice) == ("it failed; try again", "")
        assert str(error.with_message(error.found, "")) == "it failed; try again"


class TestArticles:
    def test_no_message_writes_one_before_what_it_does_not_know(self) -> None:
        """``a {kind}`` is wrong for an int; with_article() writes both."""
        words_that_begin_with_a_consonant = {"what"}  # "number" and "time"
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    for before, value in zip(node.values, node.values[1:], strict=False):
                        if isinstance(before, ast.Constant) and isinstance(value, ast.FormattedValue):
                            has_article = str(before.value).endswith((" a ", " an ")) or before.value in (
                                "a ",
                                "an ",
                            )
                            name = ast.unparse(value.value)
                            assert not has_article or name in words_that_begin_with_a_consonant, (
                                f"{path}: {name}"
                            )

    @pytest.mark.parametrize(
        ("kind", "noun"),
        [(int, "an int"), (str, "a str"), (OwnerScope, "an OwnerScope"), (bool, "a bool")],
    )
    def test_of_classes(self, kind: type, noun: str) -> None:
        assert with_article(kind) == noun

    def test_in_an_error(self) -> None:
        with pytest.raises(SchedulerRepoError, match="n is 'x', it must be an int"):
            check_kind("x", int, "n")
