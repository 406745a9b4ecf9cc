"""Servers that every module of these tests talks to, started once."""

from collections.abc import Iterator

import pytest

from tests.interop.running import ours, serving


@pytest.fixture(scope="session")
def workshop_url() -> Iterator[str]:
    """Our server on HTTP."""
    with serving(ours("workshop", "--http")) as url:
        yield url
