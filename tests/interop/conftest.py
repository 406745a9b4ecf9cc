"""Servers that every module of these tests talks to, started once."""

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from tests.interop.pairs import Serving
from tests.interop.running import serving as started


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    """Starts servers when they are first asked for."""
    urls: dict[tuple[str, ...], str] = {}
    with contextlib.ExitStack() as stack:

        def url(command: Sequence[str]) -> str:
            key = tuple(command)
            if key not in urls:
                urls[key] = stack.enter_context(started(key))
            return urls[key]

        yield url
