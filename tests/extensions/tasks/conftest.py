"""What tests of tasks stand on: both databases."""

from pathlib import Path

import pytest

from tests.extensions.tasks.storing import emptied


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing of tasks in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'trunkline.db'}"
    return emptied(request.getfixturevalue("postgresql"))
