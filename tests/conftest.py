"""What all tests share.

No property is judged by how long an example took; state goes to a folder of its own; one PostgreSQL serves all who ask.
"""

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="trunkline-state-")

if TYPE_CHECKING:
    from tests.storage.postgres import Server

settings.register_profile("trunkline", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("trunkline")


_ALONE = ("chaos", "deploy")
"""Folders whose tests judge what happens within seconds, with several processes: two at a time, not beside others."""


_LASTING = 120
"""Seconds of a test's own time limit from which on its file counts as one that takes long."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` runs after all others; of the others, let files that take long begin first.

    A file is run by one worker. Those that wait for processes long enough to need a time limit of their own would
    otherwise come last, having few tests, and the other workers would be idle meanwhile.
    """
    for item in items:
        if item.path.parent.name in _ALONE:
            item.add_marker("alone")
    counts = Counter(item.path for item in items)
    lasting = {item.path for item in items if any(mark.args[0] >= _LASTING for mark in item.iter_markers("timeout"))}
    items.sort(key=lambda item: (item.path not in lasting, -counts[item.path], item.path))


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """What a command that ran in this process set for its logs is not for the next test."""
    root = logging.root
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgresql() -> Iterator["Server"]:
    """A real server; none of its tests stops it."""
    from tests.storage.postgres import Server

    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.destroy()
