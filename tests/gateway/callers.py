"""Callers of a gateway: requests of either era straight to the engine, with what comes back beside the result kept."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import UNSET, Raw

from trunkline.engine.context import Context
from trunkline.engine.doors import InputRequest
from trunkline.engine.engine import Engine
from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.errors import RemoteError
from trunkline.protocol import json
from trunkline.protocol.messages import CAPABILITIES_KEY, LOG_LEVEL_KEY, VERSION_KEY, Message, decode_params
from trunkline.protocol.revisions import REVISIONS


class Caller:
    """One client of an engine.

    Parameters:
        revision: what it speaks.
        answers: what it answers, by method of the question; a legacy caller's are asked for while the call is open.
    """

    def __init__(
        self, engine, revision="2026-07-28", *, principal=ANONYMOUS, capabilities=None, answers=None, log=None
    ):
        self.engine = engine
        self.revision = REVISIONS[revision]
        self.principal = principal
        self.capabilities = capabilities or {}
        self.answers = answers or {}
        self.log = log
        self.interactive = self.revision.era == "legacy"
        self.heard: list[dict] = []
        self.asked: list[InputRequest] = []

    async def notify(self, message: bytes) -> None:
        self.heard.append(json.plain(message))

    async def suspend(self, retry: int) -> None:
        pass

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        self.asked += requests.values()
        return {key: self.answers.get(one.method, RemoteError(-32601, "no")) for key, one in requests.items()}

    async def once(self, method, params=None):
        """One request and its result, as the wire has it."""
        given = dict(params or {})
        if self.revision.era == "modern":
            meta = {VERSION_KEY: self.revision.name, CAPABILITIES_KEY: self.capabilities, **given.get("_meta", {})}
            if self.log:
                meta[LOG_LEVEL_KEY] = self.log
            given["_meta"] = meta
        raw = decode_params(Message("2.0", 1, method, Raw(json.encode(given))))
        meta = raw.meta if raw.meta is not UNSET else None
        context = Context(
            1,
            method,
            raw,
            self.revision,
            self.principal,
            self,
            self.capabilities,
            log_level=self.log if meta or self.log else None,
        )
        return json.plain(json.encode(await self.engine.handle(context)))

    async def request(self, method, params=None):
        """A request, with a modern caller's input rounds."""
        given = dict(params or {})
        while True:
            result = await self.once(method, given)
            if result.get("resultType") != "input_required":
                return result
            requests = result.get("inputRequests", {})
            self.asked += [InputRequest(one["method"], one.get("params")) for one in requests.values()]
            given["requestState"] = result["requestState"]
            given["inputResponses"] = {key: self.answers[one["method"]] for key, one in requests.items()}

    async def call(self, tool, **arguments):
        return await self.request("tools/call", {"name": tool, "arguments": arguments})

    async def tools(self):
        return [tool["name"] for tool in (await self.request("tools/list"))["tools"]]


@contextlib.asynccontextmanager
async def gateway(federation):
    """An engine over a federation that is started."""
    await federation.start()
    try:
        yield Engine(federation)
    finally:
        await federation.stop()


async def until(condition, seconds=20.0):
    """Wait for a condition that must come true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def descendants(*words):
    """The ids of processes this one started, directly or not, whose command line holds one of these words."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_text()
    found = {os.getpid()}
    while len(found) < len(found := found | {pid for pid, parent in parents.items() if parent in found}):
        pass
    return {pid for pid in found - {os.getpid()} if any(word in lines.get(pid, "") for word in words)}


ALICE = Principal("https://issuer.example", "alice")
BOB = Principal("https://issuer.example", "bob")
