"""HTTP APIs as servers of a `trunkline.yaml`: real documents, a real API, a file that changes meanwhile."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.gateway.callers import Caller, until
from tests.gateway.test_http import served
from trunkline.assembly.gateway import Gateway, read_gateway
from trunkline.assembly.plan import Remembered
from trunkline.assembly.reloading import Reloader, reloading
from trunkline.portable.read import parse_document

SECRET = "key-of-the-pets"
JSON = {
    "type": "openapi",
    "file": "pets.json",
    "baseUrl": "https://api.example.com",
    "auth": {"key": "${env:KEY}"},
    "variables": {"region": "eu"},
    "headers": {"X-Team": "blue"},
    "operations": {
        "include": {"operationIds": ["list*"], "tags": ["pets"], "methods": ["GET"], "paths": ["/pets*"]},
        "exclude": {"paths": ["/pets/*"]},
        "overrides": {"listPets": {"name": "pets", "description": "Ours.", "arguments": {"shop": 7}}},
        "output": False,
    },
}
YAML = """
servers:
  pets:
    transport: openapi
    file: pets.json
    base_url: https://api.example.com
    auth: {key: "${env:KEY}"}
    variables: {region: eu}
    headers: {X-Team: blue}
    operations:
      include: {operation_ids: ["list*"], tags: [pets], methods: [GET], paths: ["/pets*"]}
      exclude: {paths: ["/pets/*"]}
      overrides:
        listPets: {name: pets, description: Ours., arguments: {shop: 7}}
      output: false
"""


def document(*operations: str) -> str:
    paths = {f"/{name}": {"get": {"operationId": name, "responses": {}}} for name in operations}
    security = {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    return json.dumps({"openapi": "3.1.0", "security": [{"key": []}], "paths": paths, "components": security})


def test_the_keys_say_what_the_members_of_a_clients_file_say(tmp_path: Path) -> None:
    from trunkline.portable.openapi import settings

    (tmp_path / "pets.json").write_text(document("listPets"))
    (tmp_path / "trunkline.yaml").write_text(YAML)
    (entry,) = read_gateway(str(tmp_path / "trunkline.yaml"), environment={"KEY": SECRET}).plan.entries
    (other,) = parse_document(json.dumps({"mcpServers": {"pets": JSON}}), "mcp.json").entries

    mine, theirs = settings(entry), settings(other)
    assert (mine.operations, mine.variables, mine.base_url) == (theirs.operations, theirs.variables, theirs.base_url)
    assert mine.auth == {"key": SECRET}
    assert (mine.file, entry.headers) == (str(tmp_path / "pets.json"), other.headers)
    assert SECRET in entry.secret_values
    assert SECRET not in repr(entry) + repr(mine)


class Api:
    """An API that answers every path with it, once its gate is open."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.app = Starlette(routes=[Route("/{path:path}", self.answer)])

    async def answer(self, request: Request) -> JSONResponse:
        self.keys.append(request.headers["x-key"])
        await self.gate.wait()
        return JSONResponse({"path": request.url.path})


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Gateway, Caller, Api]]:
    api = Api()
    async with served(api.app) as base:
        text = "servers: {pets: {transport: openapi, file: pets.json, base_url: BASE, auth: {key: '${env:KEY}'}}}"
        (folder / "trunkline.yaml").write_text(text.replace("BASE", f"'{base}'"))
        environment = {**os.environ, "KEY": SECRET}
        remembered = Remembered(None)
        gateway = read_gateway(str(folder / "trunkline.yaml"), environment=environment, remembered=remembered)
        await gateway.application.start()
        try:
            async with reloading(Reloader(gateway, environment, remembered, period=0.05)):
                await until(gateway.settled)
                yield gateway, Caller(gateway.application.engine), api
        finally:
            await gateway.application.stop(drain=0)


async def test_tools_change_with_the_document_and_no_call_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(document("list"))
    async with running(tmp_path) as (gateway, caller, api):
        assert await caller.tools() == ["pets__list"]
        api.gate.clear()
        call = asyncio.create_task(caller.call("pets__list"))
        await until(lambda: len(api.keys) == 1)

        (tmp_path / "pets.json").write_text(document("list", "find"))
        async with asyncio.timeout(20):
            while await caller.tools() != ["pets__list", "pets__find"]:
                await asyncio.sleep(0.05)

        api.gate.set()
        assert (await call)["structuredContent"] == {"path": "/list"}
        assert (await caller.call("pets__find"))["structuredContent"] == {"path": "/find"}
        assert api.keys == [SECRET, SECRET]
        assert not gateway.fault


async def test_a_bad_document_changes_nothing_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(document("list"))
    async with running(tmp_path) as (gateway, caller, _):
        (tmp_path / "pets.json").write_text("{")
        await until(lambda: bool(gateway.fault))
        assert "pets.json cannot be read" in gateway.fault
        assert (await caller.call("pets__list"))["structuredContent"] == {"path": "/list"}

        (tmp_path / "pets.json").write_text(document("find"))
        await until(lambda: not gateway.fault)
        await until(gateway.settled)
        assert await caller.tools() == ["pets__find"]
