"""What all tests of a loop that runs need."""

import pytest

from scheduler_repo.loop import running


@pytest.fixture(autouse=True)
def nothing_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be dispatched is told of because the loop says so, and not as somebody looks now and then."""
    monkeypatch.setattr(running, "_LIST_EVERY", 3_600.0)
