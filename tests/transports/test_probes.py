"""The two probes: they mean what they say, to whoever asks."""

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.transports.fixture import Stage, application_of
from tests.transports.web import served
from trunkline.errors import Unauthenticated
from trunkline.transports.asgi import ASGIApp
from trunkline.transports.http import HTTPTransport


async def asked(app: ASGIApp, path: str, method: str = "GET", **headers: str) -> tuple[int, object]:
    async with (
        served(app) as port,
        aiohttp.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        return response.status, await response.json() if method == "GET" else await response.read()


async def test_a_server_that_serves_is_live_and_ready() -> None:
    app = HTTPTransport(application_of(Stage()))
    assert await asked(app, "/livez") == (200, {"status": "alive"})
    assert await asked(app, "/readyz") == (200, {"status": "ready"})
    assert await asked(app, "/readyz", "HEAD") == (200, b"")
    assert await asked(app, "/readyz", "POST") == (405, b"")


async def test_a_server_that_leaves_is_live_and_not_ready() -> None:
    application = application_of(Stage())
    app = HTTPTransport(application)
    async with served(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        application.leave()
        async with http.get("/readyz") as response:
            assert (response.status, await response.json()) == (503, {"status": "draining"})
        async with http.get("/livez") as response:
            assert response.status == 200


async def test_a_server_is_ready_once_what_it_started_has_settled_and_stays_so() -> None:
    settled: list[bool] = []
    app = HTTPTransport(application_of(Stage(), settled=lambda: bool(settled)))
    async with served(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def ready() -> tuple[int, object]:
            async with http.get("/readyz") as response:
                return response.status, await response.json()

        assert await ready() == (503, {"status": "starting"})
        settled.append(True)
        assert await ready() == (200, {"status": "ready"})
        settled.clear()
        assert await ready() == (200, {"status": "ready"})


async def test_they_answer_whoever_asks_for_whatever_host_and_without_sign_in() -> None:
    class Nobody:
        async def authenticate(self, facts: object) -> None:
            raise Unauthenticated

    app = HTTPTransport(application_of(Stage(), authenticator=Nobody()))
    for headers in ({"Host": "10.244.1.17:8808"}, {"Host": "evil.example", "Origin": "https://evil.example"}):
        assert (await asked(app, "/livez", **headers))[0] == 200
        assert (await asked(app, "/readyz", **headers))[0] == 200


async def test_what_is_reported_decides_nothing() -> None:
    application = application_of(Stage())
    application.reports["storage"] = lambda: "unreachable"
    assert await asked(HTTPTransport(application), "/readyz") == (200, {"storage": "unreachable", "status": "ready"})


@pytest.mark.parametrize("mount", ["/weather", ""])
async def test_a_host_that_runs_no_lifespan_becomes_ready_by_being_asked(mount: str) -> None:
    application = application_of(Stage())
    host = Starlette(routes=[Mount(mount, app=HTTPTransport(application))])
    assert await asked(host, f"{mount}/readyz") == (200, {"status": "ready"})
    assert await asked(host, f"{mount}/livez") == (200, {"status": "alive"})
    await application.stop()


async def test_a_server_that_does_not_start_is_not_ready() -> None:
    class Broken(Stage):
        async def start(self) -> None:
            raise RuntimeError("no disk")

    host = Starlette(routes=[Mount("/", app=HTTPTransport(application_of(Broken())))])
    assert await asked(host, "/readyz") == (503, {"status": "starting"})
