"""A stage, its application, and the application on a real socket."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.transports.fixture import Stage, application_of
from tests.transports.web import Web, served
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def application(stage: Stage) -> Application:
    return application_of(stage)


@pytest.fixture
async def web(application: Application) -> AsyncIterator[Web]:
    async with served(HTTPTransport(application)) as port, aiohttp.ClientSession() as http:
        web = Web(port, http)
        yield web
        web.close()
