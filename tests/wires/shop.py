"""A server with one of everything a gateway carries: `python -m tests.wires.shop WIRE PORT FILE`.

FILE says what it has beside that, as `Shop.stock` holds it; the server follows it and tells of changes.
Its tools answer with what they received and with what became of their questions, so that a client sees both hops.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.wires.server import PREFIX, App, Refusal, notification, run

OBJECT = {"type": "object"}
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
PAGE = {"mode": "url", "message": "Sign in", "url": "https://in.example", "elicitationId": "1"}
QUESTIONS = {
    "form": ("elicitation/create", {"message": "Who?", "requestedSchema": NAME}),
    "page": ("elicitation/create", PAGE),
    "sample": ("sampling/createMessage", {"messages": [], "maxTokens": 5}),
    "roots": ("roots/list", None),
}
NEEDS = {"form": ("elicitation",), "page": ("elicitation", "url"), "sample": ("sampling",), "roots": ("roots",)}
RICH = {
    "content": [
        {"type": "text", "text": "rich", "annotations": {"priority": 0.5}, "x-new": [1]},
        {"type": "resource_link", "uri": "shop://note/1", "name": "one"},
    ],
    "structuredContent": {"sum": 12345678901234567890},
    "_meta": {"com.example/kept": {"deep": [1, None]}},
    "x-new": {"big": 12345678901234567890},
}
WHERE = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
APP = "ui://shop/app"


class Shop(App):
    """One method for each tool."""

    capabilities: Mapping = {
        "tools": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "prompts": {"listChanged": True},
        "completions": {},
        "logging": {},
    }

    def __init__(self, wire):
        super().__init__(wire)
        self.stock = {"tools": [], "resources": [], "prompts": [], "updated": {}}
        self.fate = {}

    async def live(self):
        file = Path(sys.argv[3])
        while True:
            before, self.stock = self.stock, json.loads(file.read_text()) if file.exists() else self.stock
            for kind in ("tools", "resources", "prompts"):
                if before[kind] != self.stock[kind]:
                    await self.changed(kind)
            for uri, edition in self.stock["updated"].items():
                if before["updated"].get(uri) != edition:
                    await self.changed(uri)
            await asyncio.sleep(0.05)

    async def handle(self, method, params, session, out, headers):
        handlers = {
            "tools/list": self.tools,
            "resources/list": self.resources,
            "resources/templates/list": self.templates,
            "prompts/list": self.prompts,
            "resources/read": self.read,
            "prompts/get": self.prompt,
            "completion/complete": self.complete,
        }
        if method == "tools/call":
            tool = getattr(self, f"tool_{params['name']}", None)
            if tool is None and params["name"] in self.stock["tools"]:
                return self.text(f"I am {params['name']}")
            if tool is None:
                raise Refusal(-32602, f"Unknown tool: {params['name']}")
            return await tool(params, session, out, headers)
        if method not in handlers:
            raise Refusal(-32601, "Method not found")
        return handlers[method](params)

    # --- lists, in pages of two ---------------------------------------------------------------------------------------

    def paged(self, member, items, params):
        begin = int(params.get("cursor", 0))
        more = {"nextCursor": str(begin + 2)} if begin + 2 < len(items) else {}
        return self.whole({member: items[begin : begin + 2], **more}, listed=True)

    def tools(self, params):
        names = [name.removeprefix("tool_") for name in dir(self) if name.startswith("tool_")]
        tools = [{"name": name, "inputSchema": OBJECT} for name in [*names, *self.stock["tools"]]]
        for tool in tools:
            if tool["name"] == "where":
                tool["inputSchema"] = WHERE
            if tool["name"] == "rich":
                tool |= {"outputSchema": OBJECT, "x-new": {"deep": [1]}, "_meta": {"ui": {"resourceUri": APP}}}
        return self.paged("tools", tools, params)

    def resources(self, params):
        uris = [APP, *(f"shop://note/{number}" for number in range(4)), *self.stock["resources"]]
        return self.paged("resources", [{"uri": uri, "name": uri} for uri in uris], params)

    def templates(self, params):
        return self.paged(
            "resourceTemplates", [{"uriTemplate": f"shop://{name}/{{id}}", "name": name} for name in "abc"], params
        )

    def prompts(self, params):
        names = [*(f"prompt{number}" for number in range(3)), *self.stock["prompts"]]
        return self.paged("prompts", [{"name": name} for name in names], params)

    def read(self, params):
        if params["uri"].startswith("shop://none"):
            raise Refusal(-32602 if self.modern else -32002, "Resource not found", {"uri": params["uri"]})
        text = f"read {params['uri']}"
        return self.whole({"contents": [{"uri": params["uri"], "text": text, "x-new": 1}]}, listed=True)

    def prompt(self, params):
        text = f"{params['name']} {json.dumps(params.get('arguments'))}"
        return self.whole({"messages": [{"role": "user", "content": {"type": "text", "text": text}}], "x-new": 1})

    def complete(self, params):
        given = params.get("context", {}).get("arguments", {})
        values = [params["ref"].get("name") or params["ref"]["uri"], params["argument"]["value"], *given.values()]
        return self.whole({"completion": {"values": values, "total": 3, "hasMore": False}})

    # --- tools --------------------------------------------------------------------------------------------------------

    def text(self, what):
        return self.whole({"content": [{"type": "text", "text": what if isinstance(what, str) else json.dumps(what)}]})

    async def tool_echo(self, params, session, out, headers):
        mirrored = {name.lower(): value for name, value in headers.items() if name.lower().startswith("mcp-param")}
        return self.text({"params": params, "headers": mirrored})

    tool_where = tool_echo

    async def tool_rich(self, params, session, out, headers):
        return self.whole(dict(RICH))

    async def tool_whoami(self, params, session, out, headers):
        return self.text(self.able(params, session))

    async def tool_work(self, params, session, out, headers):
        """Progress, and a log message of each of some levels, as fine as was asked for."""
        token = params.get("_meta", {}).get("progressToken")
        for done in (1, 2):
            if token is not None:
                told = {"progressToken": token, "progress": done, "total": 2, "message": "x", "x-new": 1}
                await out.send(notification("progress", told))
        levels = ["debug", "info", "warning", "error"]
        finest = params.get("_meta", {}).get(f"{PREFIX}logLevel") if self.modern else session.level or "debug"
        for level in levels[levels.index(finest) :] if finest else ():
            await out.send(notification("message", {"level": level, "data": f"a {level}", "logger": "shop"}))
        return self.text("done")

    async def tool_ask(self, params, session, out, headers):
        """Ask what the argument says, if this client can answer it."""
        kind = params["arguments"]["kind"]
        able = self.able(params, session)
        for name in NEEDS[kind]:
            if not isinstance(able, dict) or name not in able:
                return self.text("not offered")
            able = able[name]
        method, question = QUESTIONS[kind]
        if not self.modern:
            try:
                return self.text(await session.ask(out, method, question))
            except Refusal as refusal:
                return self.text(f"refused: {refusal}")
        if "inputResponses" not in params:
            asked = {"method": method} | ({} if question is None else {"params": question})
            return {"resultType": "input_required", "inputRequests": {"q": asked}, "requestState": f"asked {kind}"}
        if params["requestState"] != f"asked {kind}":
            raise Refusal(-32602, "that is not my state")
        return self.text(params["inputResponses"]["q"])

    async def tool_visit(self, params, session, out, headers):
        """Want a page visited first, the first time (2025-11-25, URL Elicitation Required Error)."""
        if self.fate.setdefault(params["arguments"]["key"], "new") == "new" and not self.modern:
            self.fate[params["arguments"]["key"]] = "asked"
            raise Refusal(-32042, "pages first", {"elicitations": [PAGE]})
        return self.text("welcome")

    async def tool_wait(self, params, session, out, headers):
        """Wait until the caller gives up."""
        key = params["arguments"]["key"]
        self.fate[key] = "waiting"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.fate[key] = "cancelled"
            raise

    async def tool_fate(self, params, session, out, headers):
        return self.text(self.fate.get(params["arguments"]["key"], "unknown"))

    def able(self, params, session):
        """What the client said it can do."""
        return params["_meta"][f"{PREFIX}clientCapabilities"] if self.modern else session.hello.get("capabilities", {})


if __name__ == "__main__":
    run(Shop, sys.argv)
