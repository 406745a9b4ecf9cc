"""Requests to a server's engine without any transport."""

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import msgspec
import pytest

from trunkline import Context, InputRequest, Principal, Server
from trunkline.engine.doors import Result
from trunkline.engine.principal import ANONYMOUS
from trunkline.protocol import json, messages
from trunkline.protocol.revisions import REVISIONS

Ask = Callable[..., Awaitable[Result]]


class Recorder:
    """An exchange that records what is told."""

    interactive = False

    def __init__(self) -> None:
        self.sent: list[object] = []

    async def notify(self, message: bytes) -> None:
        self.sent.append(json.parse(message))

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        raise AssertionError("modern exchanges are never asked")

    async def suspend(self, retry: int) -> None: ...


async def request(
    server: Server,
    method: str,
    params: Mapping[str, object] | None = None,
    *,
    revision: str = "2026-07-28",
    capabilities: Mapping[str, object] | None = None,
    principal: Principal = ANONYMOUS,
    raw: bytes | None = None,
) -> Result:
    """One request, and its result as a client would decode it."""
    body = raw if raw is not None else msgspec.json.encode(params or {})
    message = messages.Message(jsonrpc="2.0", id=1, method=method, params=msgspec.Raw(body))
    context = Context(
        1,
        method,
        messages.decode_params(message),
        REVISIONS[revision],
        principal,
        Recorder(),
        capabilities or {},
    )
    result = await server.engine.handle(context)
    return cast("Result", msgspec.json.decode(msgspec.json.encode(result)))


@pytest.fixture
def ask() -> Ask:
    return request


@pytest.fixture
def server() -> Server:
    return Server("test", version="1")


async def call(server: Server, tool: str, arguments: object = None, **options: object) -> Result:
    """Call a tool."""
    params = {"name": tool} if arguments is None else {"name": tool, "arguments": arguments}
    return await request(server, "tools/call", params, **options)  # type: ignore[arg-type]


def text(result: Result) -> str:
    """The text of a result's first block."""
    return cast("list[dict[str, str]]", result["content"])[0]["text"]
