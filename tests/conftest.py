"""What all tests share: no property is judged by how long an example took; one PostgreSQL server for all who ask."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.storage.postgres import Server

settings.register_profile("trunkline", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("trunkline")


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
