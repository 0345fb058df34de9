"""A folder for the servers' directories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shared_folder import shared_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the servers' directories."""
    with shared_folder("embedded-") as path:
        yield path
