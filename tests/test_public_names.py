"""What the package exports by its own name."""

import pytest

import scheduler_repo


class TestPublicNames:
    @pytest.mark.parametrize("name", scheduler_repo.__all__)
    def test_every_name_can_be_imported(self, name: str) -> None:
        assert getattr(scheduler_repo, name).__name__ == name

    def test_a_name_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = scheduler_repo.no_such_name  # type: ignore[attr-defined] # it is what is tested
