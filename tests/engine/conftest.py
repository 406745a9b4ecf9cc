"""A provider and an exchange small enough to read, for tests of the engine alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, InputRequest, Result
from trunkline.engine.engine import Engine
from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.errors import MethodNotFound
from trunkline.protocol import json, messages
from trunkline.protocol.headers import HeaderParam
from trunkline.protocol.revisions import REVISIONS

Tool = Callable[[Context], Awaitable[Result]]


class OneTool:
    """A provider whose every tool call runs one function."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def info(self) -> Mapping[str, object]:
        return {"name": "one", "version": "1"}

    def capabilities(self) -> Mapping[str, object]:
        return {"tools": {"listChanged": True}}

    def instructions(self) -> str | None:
        return "Call it."

    def freshness(self) -> Mapping[str, object]:
        return {"ttlMs": 3_600_000, "cacheScope": "public"}

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        return ()

    async def list_tools(self, context: Context) -> Result:
        return {"tools": [{"name": "add", "inputSchema": {}}, {"name": "sub", "inputSchema": {}}]}

    async def call_tool(self, context: Context) -> Result:
        return await self.tool(context)

    async def _nothing(self, context: Context) -> Result:
        raise MethodNotFound

    list_resources = list_templates = list_prompts = read_resource = get_prompt = complete = _nothing

    async def follow(self, context: Context, uris: Sequence[str]) -> None: ...

    async def unfollow(self, context: Context, uris: Sequence[str]) -> None: ...

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        return lambda: None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Recorder:
    """An exchange that records what is sent and answers questions from a dict."""

    def __init__(self, interactive: bool = False, answers: Mapping[str, object] | None = None) -> None:
        self.interactive = interactive
        self.answers = answers or {}
        self.sent: list[object] = []

    async def notify(self, message: bytes) -> None:
        self.sent.append(json.parse(message))

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        self.sent += [request.wire() for request in requests.values()]
        return {key: self.answers[key] for key in requests}

    async def suspend(self, retry: int) -> None: ...


Ask = Callable[..., Awaitable[Result]]


@pytest.fixture
def engine_of() -> Callable[..., Engine]:
    return lambda tool, **options: Engine(OneTool(tool), **options)


@pytest.fixture
def request_of() -> Callable[..., Context]:
    def build(
        method: str = "tools/call",
        params: Mapping[str, object] | None = None,
        *,
        revision: str = "2026-07-28",
        principal: Principal = ANONYMOUS,
        exchange: Recorder | None = None,
        capabilities: Mapping[str, object] | None = None,
        log_level: str | None = None,
    ) -> Context:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {"name": "add"}}
        message = messages.decode(json.encode(body))
        declared = {"elicitation": {}, "sampling": {}, "roots": {}} if capabilities is None else capabilities
        return Context(
            1,
            method,
            messages.decode_params(message),
            REVISIONS[revision],
            principal,
            exchange or Recorder(),
            declared,
            log_level=log_level,
        )

    return build
