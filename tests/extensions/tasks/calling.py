"""A client of tasks over real HTTP that believes nothing: everything it is sent is checked against the schema."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs

from tests.transports.web import JSON, Events, served
from trunkline import Server
from trunkline.protocol import messages

ROOT = Path(__file__).parents[3]
TASKS = "io.modelcontextprotocol/tasks"
REVISION = "2026-07-28"
RESULTS = {"tasks/get": "GetTaskResult", "tasks/update": "UpdateTaskResult", "tasks/cancel": "CancelTaskResult"}
ENDED = ("completed", "failed", "cancelled")

Answer = dict[str, Any]


class Refused(Exception):
    """The answer is an error."""

    def __init__(self, status: int, error: Answer) -> None:
        super().__init__(f"{status}: {error}")
        self.status = status
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class Caller:
    """Speaks to one endpoint.

    Parameters:
        declared: say with each request that tasks are understood.
        token: who it is, where callers sign in.
    """

    def __init__(
        self, url: str, http: aiohttp.ClientSession, *, declared: bool = True, token: str | None = None
    ) -> None:
        self.url = url
        self.http = http
        self.declared = declared
        self.token = token
        self._ids = itertools.count(1)

    def other(self, *, declared: bool = True, token: str | None = None) -> "Caller":
        """Somebody else at the same endpoint, or the same one with other words."""
        return Caller(self.url, self.http, declared=declared, token=token)

    def body(self, method: str, params: Mapping[str, object], meta: Mapping[str, object] | None = None) -> Answer:
        capabilities: Answer = {"elicitation": {}, "sampling": {}, "roots": {}}
        if self.declared:
            capabilities["extensions"] = {TASKS: {}}
        whole = {messages.VERSION_KEY: REVISION, messages.CAPABILITIES_KEY: capabilities, **(meta or {})}
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": {**params, "_meta": whole}}

    def headers(self, method: str, params: Mapping[str, object]) -> dict[str, str]:
        headers = {**JSON, "MCP-Protocol-Version": REVISION, "Mcp-Method": method}
        if "taskId" in params or "name" in params or "uri" in params:
            headers["Mcp-Name"] = str(params.get("taskId") or params.get("name") or params.get("uri"))
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    async def send(
        self, method: str, params: Mapping[str, object], meta: Mapping[str, object] | None = None, **headers: str
    ) -> Answer:
        """One request; its result. Raises `Refused` for an error."""
        given = {**self.headers(method, params), **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.http.post(self.url, json=self.body(method, params, meta), headers=given) as response:
            if response.headers["Content-Type"].startswith("text/event-stream"):
                answer = (await Events(response).rest())[-1]
            else:
                answer = json.loads(await response.read())
            if "error" in answer:
                raise Refused(response.status, answer["error"])
            result: Answer = answer["result"]
            check(method, result)
            return result

    async def call(self, tool: str, meta: Mapping[str, object] | None = None, **arguments: object) -> Answer:
        return await self.send("tools/call", {"name": tool, "arguments": arguments}, meta)

    async def start(self, tool: str, meta: Mapping[str, object] | None = None, **arguments: object) -> str:
        """Call a tool that becomes a task; its id."""
        result = await self.call(tool, meta, **arguments)
        assert result["resultType"] == "task", result
        return str(result["taskId"])

    async def get(self, id: str) -> Answer:
        return await self.send("tasks/get", {"taskId": id})

    async def update(self, id: str, responses: Mapping[str, object]) -> Answer:
        return await self.send("tasks/update", {"taskId": id, "inputResponses": responses})

    async def cancel(self, id: str) -> Answer:
        return await self.send("tasks/cancel", {"taskId": id})

    async def until(self, id: str, *states: str, seconds: float = 20) -> Answer:
        """The task once it is in one of these states."""
        async with asyncio.timeout(seconds):
            while True:
                task = await self.get(id)
                if task["status"] in states:
                    return task
                assert task["status"] not in ENDED, task
                await asyncio.sleep(0.02)

    async def ended(self, id: str, seconds: float = 20) -> Answer:
        return await self.until(id, *ENDED, seconds=seconds)

    @contextlib.asynccontextmanager
    async def listening(self, *ids: str, **more: object) -> AsyncIterator[Events]:
        """An open `subscriptions/listen`, its acknowledgement still to be read."""
        params = {"notifications": {"taskIds": list(ids), **more}}
        body = self.body("subscriptions/listen", params)
        response = await self.http.post(self.url, json=body, headers=self.headers("subscriptions/listen", {}))
        try:
            yield Events(response)
        finally:
            response.close()


@contextlib.asynccontextmanager
async def calling(server: Server, *, token: str | None = None) -> AsyncIterator[Caller]:
    """Serve and speak to it."""
    async with served(server.app) as port, aiohttp.ClientSession() as http:
        yield Caller(f"http://127.0.0.1:{port}/mcp", http, token=token)


@cache
def validator(name: str) -> jsonschema_rs.Validator:
    whole = json.loads((ROOT / "schemas/ext-tasks.json").read_text(encoding="utf-8"))
    return jsonschema_rs.Draft202012Validator({**whole, "$ref": f"#/$defs/{name}"}, validate_formats=False)


def check(method: str, result: Answer) -> None:
    """Whether a result is what the extension's schema says."""
    name = RESULTS.get(method) or ("CreateTaskResult" if result["resultType"] == "task" else None)
    if name is not None:
        validator(name).validate(result)
    if name in ("CreateTaskResult", "GetTaskResult"):
        assert isinstance(result["ttlMs"], int | None)
