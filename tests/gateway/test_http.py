"""The gateway between real HTTP hops: what is carried, and what stays on its hop."""

import asyncio
import contextlib
from typing import Annotated

import aiohttp
import pytest

from tests.gateway.callers import ALICE, BOB, Caller, gateway, until
from tests.gateway.upstreams import federated, workshop
from trunkline import Client, Context, Header, Server
from trunkline.assembly.serving import Binding, bind, serving
from trunkline.engine.engine import Engine
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation, Limits
from trunkline.gateway.supervision import Backoff
from trunkline.portable.model import Entry
from trunkline.protocol.messages import CAPABILITIES_KEY, VERSION_KEY
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

FAST = Backoff(base=0.05, cap=0.2, quick_failures=1000, start=20.0)


class Recorded:
    """An ASGI application and the headers of every request it got."""

    def __init__(self, app):
        self.app = app
        self.requests: list[dict[str, str]] = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            self.requests.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def served(app, port=0):
    """Serve an ASGI application: yields its base URL."""
    listener = bind(Binding(port=port))
    async with serving(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def chain(server, headers=None, principal=None):
    """A client's way through a gateway to a server, all over HTTP: yields the gateway's URL and what the server saw."""
    upstream = Recorded(server.app)
    async with served(upstream) as base:
        entry = Entry("up", "http", url=f"{base}/mcp", headers=headers or {})
        transport = HTTPTransport(Application(Engine(Federation([entry]))), path="/mcp")
        async with served(transport) as edge:
            yield f"{edge}/mcp", upstream


async def test_nothing_of_the_callers_hop_travels_on():
    server = workshop()
    async with chain(server, {"Authorization": "Bearer upstream-key", "X-Team": "blue"}) as (url, upstream):
        async with aiohttp.ClientSession(cookies={"session": "of-the-caller"}) as session:
            body = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {
                    "name": "up__add",
                    "arguments": {"a": 1, "b": 2},
                    "_meta": {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}},
                },
            }
            headers = {
                "Authorization": "Bearer of-the-caller",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": "up__add",
                "X-Api-Key": "of-the-caller",
                "X-Forwarded-For": "10.0.0.1",
            }
            for _ in range(2):
                async with session.post(url, json=body, headers=headers) as answer:
                    assert (await answer.json())["result"]["content"][0]["text"] == "3"
        calls = [one for one in upstream.requests if one.get("mcp-method") == "tools/call"]
        assert len(calls) == 2
        for call in upstream.requests:
            assert "of-the-caller" not in str(call)
            assert call["authorization"] == "Bearer upstream-key"
            assert call["x-team"] == "blue"
            assert not {"cookie", "x-forwarded-for", "x-api-key"} & set(call)
        assert calls[0]["mcp-name"] == "add"


async def test_cookies_of_an_upstream_are_not_kept():
    server = workshop()

    async def with_cookie(scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", b"who=first")]}
            await send(message)

        await server.app(scope, receive, sending if scope["type"] == "http" else send)

    upstream = Recorded(with_cookie)
    async with served(upstream) as base, gateway(Federation([Entry("up", "http", url=f"{base}/mcp")])) as engine:
        for principal in (ALICE, BOB):
            await Caller(engine, principal=principal).call("up__add", a=1, b=2)
        assert not [one for one in upstream.requests if "cookie" in one]


async def test_logs_and_progress_over_http():
    async with chain(workshop()) as (url, _), Client(url) as client:
        reports, logs = [], []
        result = await client.call("up__work", progress=lambda *one: reports.append(one), log=logs.append)
        assert result.text == "done"
        assert reports == [(1, 2, "half"), (2, 2, None)]
        assert [one.data for one in logs] == ["working"]


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_logs_of_a_remote_upstream_reach_their_caller(revision):
    server = workshop()
    async with served(server.app) as base, gateway(Federation([Entry("up", "http", url=f"{base}/mcp")])) as engine:
        caller, other = Caller(engine, revision, log="info"), Caller(engine, revision)
        await asyncio.gather(caller.call("up__work"), other.call("up__work"))
        logs = [one["params"] for one in caller.heard if one["method"] == "notifications/message"]
        assert [(one["level"], one["data"], one["logger"]) for one in logs] == [("info", "working", "shop")]
        assert not [one for one in other.heard if one["method"] == "notifications/message"]


async def test_parameters_mirrored_into_headers_are_mirrored_on_both_hops():
    server = Server("regions")

    @server.tool
    async def query(region: Annotated[str, Header("Region")], context: Context) -> str:
        return region

    async with chain(server) as (url, upstream):
        async with Client(url) as client:
            await client.tools()
            assert (await client.call("up__query", region="eu-west")).text == "eu-west"
        assert [one["mcp-param-region"] for one in upstream.requests if "mcp-param-region" in one] == ["eu-west"]


async def test_one_upstream_request_a_call():
    upstream = Recorded(workshop().app)
    async with served(upstream) as base, gateway(Federation([Entry("up", "http", url=f"{base}/mcp")])) as engine:
        caller = Caller(engine)
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            await caller.request(method)
        before = len(upstream.requests)
        for _ in range(5):
            await caller.call("up__add", a=1, b=2)
        assert [one["mcp-method"] for one in upstream.requests[before:]].count("tools/call") == 5
        assert "tools/list" not in [one["mcp-method"] for one in upstream.requests[before:]]


async def test_a_remote_server_that_comes_back_is_used_again():
    listener = bind(Binding(port=0))
    port = listener.getsockname()[1]
    async with serving(workshop().app, listener):
        federation = Federation([Entry("up", "http", url=f"http://127.0.0.1:{port}/mcp")], backoff=FAST)
        await federation.start()
        caller = Caller(Engine(federation))
        await caller.call("up__add", a=1, b=2)
    with pytest.raises(UpstreamUnavailable, match="upstream up"):
        await caller.call("up__add", a=1, b=2)
    # What it last listed is still there, for a short while.
    listed = await caller.request("tools/list")
    assert "up__add" in [tool["name"] for tool in listed["tools"]]
    assert listed["ttlMs"] <= 5000
    async with served(workshop().app, port):
        await until(lambda: federation.statuses()[0].state == "ready")
        assert (await caller.call("up__add", a=1, b=2))["content"][0]["text"] == "3"
        await federation.stop()


async def test_secrets_do_not_come_back_in_errors():
    async def echo(scope, receive, send):
        if scope["type"] != "http":
            return
        body = b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "bad key hunter2-hunter2"}}'
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    async with served(echo) as base:
        entry = Entry(
            "up", "http", url=base, headers={"X-Key": "hunter2-hunter2"}, secret_values=frozenset({"hunter2-hunter2"})
        )
        async with gateway(Federation([entry], backoff=FAST)) as engine:
            await Caller(engine).tools()
            with pytest.raises(UpstreamUnavailable) as failure:
                await Caller(engine).call("up__x")
            assert "hunter2" not in failure.value.message


async def test_sessions_are_bounded_and_idle_ones_closed():
    limits = Limits(sessions=2, session_idle=0.2)
    async with federated({"up": workshop()}, legacy=("up",), shared=False, limits=limits) as (federation, engine, _):
        alice, bob = Caller(engine, principal=ALICE), Caller(engine, principal=BOB)
        both = Caller(engine, principal=BOB, capabilities={"roots": {}})
        for caller in (alice, bob, both, alice):
            await caller.call("up__add", a=1, b=2)
            assert federation.statuses()[0].sessions <= 2
        await until(lambda: federation.statuses()[0].sessions == 0)
        await alice.call("up__add", a=1, b=2)


async def test_when_all_sessions_are_busy_a_caller_is_told():
    server = Server("up")
    gate = asyncio.Event()

    @server.tool
    async def wait() -> str:
        await gate.wait()
        return "done"

    limits = Limits(sessions=1)
    async with federated({"up": server}, legacy=("up",), shared=False, limits=limits) as (federation, engine, _):
        await Caller(engine).tools()
        first = asyncio.create_task(Caller(engine, principal=ALICE).call("up__wait"))
        await until(lambda: federation.statuses()[0].sessions == 1)
        with pytest.raises(UpstreamUnavailable, match="busy"):
            await Caller(engine, principal=BOB).call("up__wait")
        gate.set()
        assert (await first)["content"][0]["text"] == "done"
